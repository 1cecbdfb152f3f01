// With `node --import`: what the process has loaded is written to SCENEBUS_LOADED when it ends, one file a line.
import { appendFileSync } from 'node:fs';
import * as modules from 'node:module';

const file = process.env.SCENEBUS_LOADED;
if (typeof modules.registerHooks === 'function') {
  modules.registerHooks({
    load(url, context, next) {
      appendFileSync(file, `${url}\n`);
      return next(url, context);
    },
  });
} else {
  const hooks = `import { appendFileSync } from 'node:fs';
    export function load(url, context, next) { appendFileSync(${JSON.stringify(file)}, url + '\\n'); return next(url, context); }`;
  modules.register(`data:text/javascript,${encodeURIComponent(hooks)}`);
}
