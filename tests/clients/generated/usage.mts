// What a user of openapi-typescript and openapi-fetch writes. It is compiled, and run with the address of a server.

import createClient from "openapi-fetch";

import type { components, paths } from "./schema.mjs";

declare const process: { argv: string[] };

type RerankRequest = components["schemas"]["RerankRequest"];

const least: RerankRequest = { query: "what is a panda?", documents: ["Paris is a city."] };
// @ts-expect-error: documents are required
const without: RerankRequest = { query: "what is a panda?" };
// @ts-expect-error: one of the choices is required
const wrong: RerankRequest = { ...least, long_documents: "windows" };

const client = createClient<paths>({ baseUrl: process.argv[2]! });

const health = await client.GET("/health");
console.log(health.data?.status);

const pair = { query: "what is a panda?", passage: "The giant panda is a bear of China." };
const scored = await client.POST("/rerank", { body: pair });
if (scored.error) throw new Error(JSON.stringify(scored.error.detail));
console.log(scored.data.score);

const panda = { text: "The giant panda is a bear of China." };
const ranked = await client.POST("/v1/rerank", {
  body: { query: "what is a panda?", documents: ["Paris is a city.", panda], return_documents: true },
});
if (ranked.error) throw new Error(ranked.error.message);
for (const { index, relevance_score, document } of ranked.data.results) {
  console.log(index, relevance_score, typeof document === "string" ? document : document?.text);
}
