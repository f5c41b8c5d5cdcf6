// A request as code to copy. Pure: what is asked in, text out.
//
// `asked` is {base, query, documents, long, highlight, instruction, key}: where the server is, without a slash at the
// end; what becomes of long passages ("chunk", "truncate", or null for what the server does unasked); "sentences" where
// the best ones are wanted, or null; what the query asks for, or null; and whether a key is needed, which is read from
// the environment and never written here.

/** Every snippet, by the name of its tab. */
export const WRITERS = { curl, python, javascript, langchain, llamaindex };

const LONGEST_ARGUMENT = 100_000; // characters; Linux takes 128 KiB in one argument

function curl(asked) {
  const body = JSON.stringify({ query: asked.query, ...fields(asked), documents: asked.documents }, null, 2);
  const lines = [`curl -s ${shell(`${asked.base}/v1/rerank`)}`, "-H 'Content-Type: application/json'"];
  if (asked.key) lines.push('-H "Authorization: Bearer $RERANK_API_KEY"');
  const long = body.length > LONGEST_ARGUMENT;
  lines.push(long ? "--data-binary @- <<'END'" : `-d ${shell(body)}`);
  return lines.join(" \\\n  ") + (long ? `\n${body}\nEND\n` : "\n");
}

function python(asked) {
  return `${options(asked) ? "from rerank_core import ScoreOptions, rerank" : "from rerank_core import rerank"}
from rerank_integrations.client import HTTPScorer

query = ${literal(asked.query)}
passages = ${list(asked.documents, literal)}
${note(asked)}with HTTPScorer(${literal(asked.base)}) as scorer:
    for found in rerank(scorer, query, passages${options(asked)}):
        print(f"{found.score:.4f}  {passages[found.index]}")
`;
}

function javascript(asked) {
  const more = Object.entries(fields(asked)).map(([name, value]) => `${name}: ${literal(value)}`);
  const headers = ['"Content-Type": "application/json"'];
  if (asked.key) headers.push("Authorization: `Bearer ${process.env.RERANK_API_KEY}`");
  return `const query = ${literal(asked.query)};
const documents = ${list(asked.documents, literal, 2)};

const response = await fetch(${literal(`${asked.base}/v1/rerank`)}, {
  method: "POST",
  headers: { ${headers.join(", ")} },
  body: JSON.stringify({ ${["query", ...more, "documents"].join(", ")} }),
});
if (!response.ok) throw new Error(await response.text());
const { results } = await response.json();
for (const { index, relevance_score: score } of results) {
  console.log(\`\${score.toFixed(4)}  \${documents[index]}\`);
}
`;
}

function langchain(asked) {
  return `from langchain_core.documents import Document
${core(asked)}from rerank_integrations.langchain import RerankCompressor

query = ${literal(asked.query)}
documents = ${list(asked.documents, (text) => `Document(${literal(text)})`)}
${note(asked)}compressor = RerankCompressor.from_url(${literal(asked.base)}${options(asked)})
for document in compressor.compress_documents(documents, query):
    print(f"{document.metadata['relevance_score']:.4f}  {document.page_content}")
`;
}

function llamaindex(asked) {
  return `from llama_index.core.schema import NodeWithScore, TextNode
${core(asked)}from rerank_integrations.llama_index import RerankPostprocessor

query = ${literal(asked.query)}
nodes = ${list(asked.documents, (text) => `NodeWithScore(node=TextNode(text=${literal(text)}))`)}
${note(asked)}postprocessor = RerankPostprocessor.from_url(${literal(asked.base)}${options(asked)})
for node in postprocessor.postprocess_nodes(nodes, query_str=query):
    print(f"{node.score:.4f}  {node.text}")
`;
}

/** The options of a request: their names are those of `ScoreOptions`, too. */
const fields = (asked) => ({
  ...(asked.long && { long_documents: asked.long }),
  ...(asked.highlight && { highlight: asked.highlight }),
  ...(asked.instruction && { instruction: asked.instruction }),
});
const core = (asked) => (options(asked) ? "from rerank_core import ScoreOptions\n" : "");
const options = (asked) => {
  const given = Object.entries(fields(asked)).map(([name, value]) => `${name}=${literal(value)}`);
  return given.length ? `, options=ScoreOptions(${given.join(", ")})` : "";
};
const note = (asked) => (asked.key ? "# The API key is read from the environment: RERANK_API_KEY\n" : "");

/** One word of a POSIX shell. */
const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** A string of Python or JavaScript: every escape that JSON writes is one of theirs as well. */
const literal = (text) => JSON.stringify(text);

const list = (items, write, indent = 4) =>
  `[\n${items.map((item) => `${" ".repeat(indent)}${write(item)},\n`).join("")}]`;
