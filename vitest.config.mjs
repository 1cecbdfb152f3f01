import { defineConfig } from 'vitest/config';

// Tests import the compiled product (`#sdk/…`, `scenebus`), so that what is tested is what ships:
// worker and capture-host files exist as JavaScript only there. `npm test` compiles first.
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['**/node_modules/**', 'dist/**'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 120_000,
    server: { deps: { external: [/\/dist\//] } },
  },
});
