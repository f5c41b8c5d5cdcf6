// Asks one question, which comes as JSON, by a function of one of the modules here: `node ask.mjs MODULE FUNCTION`.
// Writes {ranking: [[index, score]]}, or {error, message}.

import { readFileSync } from "node:fs";

const [module, name] = process.argv.slice(2);
const question = JSON.parse(readFileSync(0, "utf8"));
const clients = await import(`./${module}.mjs`);
let said;
try {
  said = { ranking: await clients[name](question) };
} catch (error) {
  said = { error: nameOf(error), message: error.message };
}
process.stdout.write(JSON.stringify(said));

function nameOf(error) {
  return error.name === "Error" ? error.constructor.name : error.name;
}
