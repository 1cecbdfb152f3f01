/**
 * Of what the addons export together. Raise it here and in native/addon/interfaceVersion.h whenever an `addon-types.ts`
 * changes: an addon that was built before then asks to be rebuilt, instead of misunderstanding calls.
 * test/unit/native/interface-version.test.ts tells when that was forgotten.
 */
export const INTERFACE_VERSION = 3;
