/** Files of the repository that the demo runs on. An installed package has none of them: options name others. */
import { fileURLToPath } from 'node:url';

// From dist/device/demo/.
const inRepository = (path: string) => fileURLToPath(new URL(`../../../${path}`, import.meta.url));

export function demoModelDirectory(): string {
  return inRepository('examples/demo-model/checkpoint');
}

export function demoClipPath(): string {
  return inRepository('examples/clips/tabletop.mp4');
}
