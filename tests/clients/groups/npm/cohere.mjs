// Cohere's own SDK.

import { deepEqual } from "node:assert/strict";

import { CohereClient, CohereClientV2 } from "cohere-ai";

const ranking = (answer) => answer.results.map(({ index, relevanceScore }) => [index, relevanceScore]);

export async function v2({ url, key, model, query, documents }) {
  const client = new CohereClientV2({ environment: url, token: key });
  return ranking(await client.rerank({ model, query, documents, maxTokensPerDoc: 4096 }));
}

export async function v1({ url, key, model, query, documents }) {
  const client = new CohereClient({ environment: url, token: key });
  const answer = await client.rerank({ model, query, documents, returnDocuments: true });
  deepEqual(
    answer.results.map(({ document }) => document.text),
    answer.results.map(({ index }) => documents[index]),
  );
  return ranking(answer);
}
