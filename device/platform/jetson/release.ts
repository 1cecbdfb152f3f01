/** Which JetPack a Jetson runs, from the release of its base system (L4T), and whether TensorRT there knows int4. */

export interface JetsonRelease {
  /** `36.4.3` */
  readonly l4t: string;
  /** `6.2`; null for a release that this version of SceneBus does not know. */
  readonly jetPack: string | null;
  /** Why the TensorRT backend cannot run on it, and what to do; null: it can. */
  readonly problem: string | null;
}

const UPGRADE = 'Install JetPack 6.2 or 7.2 (https://developer.nvidia.com/embedded/jetpack).';

/**
 * Reads `/etc/nv_tegra_release`: `# R36 (release), REVISION: 4.3, GCID: …`. Null when the text is no such line.
 *
 * JetPack 5 and 6.0 carry TensorRT 8, which has no int4: refused. Releases after the known ones are taken as able,
 * since TensorRT's own version is checked as well.
 */
export function parseJetsonRelease(text: string): JetsonRelease | null {
  const found = /R(\d+)\s*\(release\),\s*REVISION:\s*(\d+)((?:\.\d+)*)/.exec(text);
  if (found === null) return null;
  const [major, minor] = [Number(found[1]), Number(found[2])];
  const l4t = `${major}.${minor}${found[3]}`;
  const jetPack = jetPackOf(major, minor, Number(found[3]!.slice(1).split('.')[0] || 0));
  if (major < 36 || (major === 36 && minor < 4)) {
    const name = jetPack === null ? '' : `JetPack ${jetPack}, `;
    return {
      l4t,
      jetPack,
      problem: `This board runs ${name}L4T ${l4t}, whose TensorRT is of version 8 and has no int4. ${UPGRADE}`,
    };
  }
  return { l4t, jetPack, problem: null };
}

function jetPackOf(major: number, minor: number, patch: number): string | null {
  if (major === 32) return '4';
  if (major === 34 || major === 35) return '5';
  if (major === 36) return minor < 4 ? '6.0' : minor === 4 && patch < 3 ? '6.1' : '6.2';
  if (major === 38) return '7.0';
  return major === 39 ? '7.2' : null;
}
