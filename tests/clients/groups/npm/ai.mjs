// The AI SDK of Vercel, with its provider for Cohere.

import { createCohere } from "@ai-sdk/cohere";
import { rerank } from "ai";

export async function ranked({ url, key, model, query, documents }) {
  const cohere = createCohere({ baseURL: `${url}/v2`, apiKey: key });
  const { ranking } = await rerank({ model: cohere.reranking(model), query, documents });
  return ranking.map(({ originalIndex, score }) => [originalIndex, score]);
}
