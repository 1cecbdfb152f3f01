export type { CaptureAddon, EngineAddon, LensAddon } from './addon-types.js';
export {
  addonCandidates,
  addonIdentity,
  captureAddon,
  engineAddon,
  lensAddon,
  loadAddonFrom,
  packageRoot,
} from './binding.js';
export { type ByteRange, type MappedFile, openMappedFile } from './mapped-file.js';
