// Starts @emulators/google, which has no command of its own: node google_emulator.mjs PORT SEED
import { createServer, serve } from "@emulators/core";
import { googlePlugin, seedFromConfig } from "@emulators/google";

const port = Number(process.argv[2]);
const seed = JSON.parse(process.argv[3]);
const baseUrl = `http://127.0.0.1:${port}`;
const tokens = { tok: { login: seed.users[0].email, id: 1, scopes: [] } };
const server = createServer(googlePlugin, { port, baseUrl, tokens });
seedFromConfig(server.store, baseUrl, seed);
serve({ fetch: server.app.fetch, port, hostname: "127.0.0.1" });
console.log("ready");
