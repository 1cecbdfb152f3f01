/** The journal as the console shows it: no picture of a camera whose privacy is on, whenever it was taken. */
import type { JournalReader } from '../journal/export.js';
import type { DeviceStateFollower } from './device-state.js';

export function visibleJournal(journal: JournalReader, state: Pick<DeviceStateFollower, 'isPrivate'>): JournalReader {
  return {
    query: (query) => journal.query(query),
    frame: async (id, options) => {
      const found = await journal.frame(id, options);
      // Asked after reading: privacy that is switched on meanwhile counts.
      return found !== undefined && found.camera !== null && state.isPrivate(found.camera) ? undefined : found;
    },
  };
}
