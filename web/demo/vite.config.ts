import { defineConfig } from 'vite';

/** `TRUNKLINE=http://host:port npm run dev` works on the page against a running server. */
const server = process.env['TRUNKLINE'] ?? 'http://127.0.0.1:8480';

export default defineConfig({
  build: {
    target: 'es2022',
    // Every chunk is in the first load: there is nothing to preload, and no inline script for a strict CSP to refuse.
    modulePreload: false,
    reportCompressedSize: false,
  },
  server: { proxy: { '/v1': { target: server, ws: true } } },
});
