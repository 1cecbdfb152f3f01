import { DatabaseSync, type DatabaseSyncInstance } from '@photostructure/sqlite';
import { StoreError } from './store-error.js';

/** SQLITE_BUSY (https://www.sqlite.org/rescode.html). */
const BUSY = 5;
/** A service that is just ending lets go within moments. */
const PATIENCE_MS = 1_000;

/** By file, until the thread ends: the garbage collector must not find them. */
const held = new Map<string, DatabaseSyncInstance>();

/**
 * Keeps a journal to one service. Two of them would give each event to the broker twice and move each other's cursors.
 * The lock is the kernel's, on a file beside the journal: it ends with the process, however that ends, and who only reads
 * the journal does not meet it. It lasts until the thread that took it ends.
 *
 * @throws StoreError ERR_JOURNAL_LOCKED when another service has it; errors of SQLite otherwise
 */
export function lockJournal(file: string): void {
  if (held.has(file)) return;
  const lock = new DatabaseSync(`${file}.lock`, { timeout: PATIENCE_MS });
  try {
    // Nothing is ever written into it, so a full disk does not matter.
    lock.exec('BEGIN EXCLUSIVE');
    held.set(file, lock);
  } catch (error) {
    lock.close();
    if (((error as { errcode?: number } | null)?.errcode ?? 0) % 256 !== BUSY) throw error;
    throw new StoreError(
      'ERR_JOURNAL_LOCKED',
      `Expected a journal that no other service uses, but one holds ${file}. Stop it, or give this device another name (device) or folder (journal.directory).`,
    );
  }
}
