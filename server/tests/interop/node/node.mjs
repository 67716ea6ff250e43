// The tour of tour.mjs in Node: node_modules/node/bin/node node.mjs --url ws://127.0.0.1:8080/ws [--only PART-OF-A-STOP]
import { createRequire } from "node:module";

import { walk } from "./tour.mjs";

const require = createRequire(import.meta.url);
const { version } = require("./node_modules/autobahn/package.json");

const option = (name) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? undefined : process.argv[at + 1];
};

await walk({
  autobahn: require("autobahn"),
  url: option("url"),
  only: option("only"),
  client: `autobahn-js ${version} in node ${process.versions.node}`,
  print: (line) => console.log(JSON.stringify(line)),
});
process.exit(0);
