/** The set-up scripts are plain JavaScript, because they run before the compiler is there; these are their shapes. */
export interface Probe {
  readonly command: (name: string) => boolean;
  readonly file: (path: string) => boolean;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly multiarch: string;
}
export interface Need {
  readonly what: string;
  readonly packages: readonly string[];
}
export interface Machine {
  readonly hasApt: boolean;
  readonly isRoot: boolean;
  readonly hasSudo: boolean;
  readonly isInteractive: boolean;
  readonly hasPackageLists: boolean;
}
export type Plan =
  | { readonly kind: 'none' }
  | {
      readonly kind: 'apt';
      readonly packages: readonly string[];
      readonly update: readonly string[];
      readonly install: readonly string[];
      readonly updateFirst: boolean;
    }
  | { readonly kind: 'manual'; readonly packages: readonly string[]; readonly reason: string };

interface SystemPackages {
  missingNeeds(purpose: 'demo' | 'test', probe: Probe): Need[];
  planInstallation(missing: readonly Need[], machine: Machine): Plan;
  describePlan(missing: readonly Need[], plan: Plan): string[];
  nodeVersionProblem(version: string): string | null;
}
interface LockFile {
  readonly packages?: Readonly<Record<string, { readonly version?: string; readonly optional?: boolean }>>;
}
interface NpmPackages {
  staleReason(wanted: LockFile, installed: LockFile | null): string | null;
}
interface ForeignBinaries {
  removeForeignBinaries(folder: string, platform: string, architecture: string): number;
}
interface BuildNative {
  buildJobs(processors: number, memoryBytes: number): number;
  configureKey(options: readonly string[], probe: Probe, root: string): string;
}

const setupFolder = new URL('../../../device/setup/', import.meta.url);
const load = async <T>(file: string): Promise<T> => (await import(new URL(file, setupFolder).href)) as T;

export const systemPackages = await load<SystemPackages>('system-packages.mjs');
export const npmPackages = await load<NpmPackages>('npm-packages.mjs');
export const foreignBinaries = await load<ForeignBinaries>('foreign-binaries.mjs');
export const buildNative = await load<BuildNative>('build-native.mjs');
