/** What can be switched for each camera while the device runs: a level of its topics. */
export const CAMERA_SETTINGS = ['describe', 'watches', 'privacy'] as const;
/** Name of a setting of a camera. */
export type CameraSetting = (typeof CAMERA_SETTINGS)[number];
