export type { CaptureAddon, EngineAddon } from './addon-types.js';
export { addonCandidates, addonIdentity, captureAddon, engineAddon, loadAddonFrom, packageRoot } from './binding.js';
export { type ByteRange, type MappedFile, openMappedFile } from './mapped-file.js';
