/** Files of the repository. An installed package has none of those that the demo runs on: options name others. */
import { fileURLToPath } from 'node:url';

// From dist/device/demo/.
const inRepository = (path: string) => fileURLToPath(new URL(`../../../${path}`, import.meta.url));

/** Files at the top of the repository, which are in the package too. */
export function topFile(name: 'LICENSE' | 'NOTICE'): string {
  return inRepository(name);
}

export function demoModelDirectory(): string {
  return inRepository('examples/demo-model/checkpoint');
}

export function demoClipPath(): string {
  return inRepository('examples/clips/tabletop.mp4');
}
