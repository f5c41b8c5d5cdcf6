// LangChain's package for Cohere.

import { CohereRerank } from "@langchain/cohere";
import { Document } from "@langchain/core/documents";
import { CohereClient } from "cohere-ai";

export async function compress({ url, key, model, query, documents }) {
  const client = new CohereClient({ environment: url, token: key });
  const reranker = new CohereRerank({ client, model, topN: 10 });
  const given = documents.map((text, index) => new Document({ pageContent: text, metadata: { index } }));
  const ranked = await reranker.compressDocuments(given, query);
  return ranked.map(({ metadata }) => [metadata.index, metadata.relevanceScore]);
}
