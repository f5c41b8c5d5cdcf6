// Voyage's own SDK.

import { VoyageAIClient } from "voyageai";

export async function ranked({ url, key, model, query, documents }) {
  const client = new VoyageAIClient({ environment: `${url}/voyage/v1`, apiKey: key });
  const { data } = await client.rerank({ model, query, documents });
  return data.map(({ index, relevanceScore }) => [index, relevanceScore]);
}
