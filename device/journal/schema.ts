/** The journal's tables. A change of form is a further step; a released step never changes. */
import type { DatabaseSyncInstance } from '@photostructure/sqlite';
import { StoreError } from './store-error.js';

const STEPS: readonly string[] = [
  `CREATE TABLE event (
     seq INTEGER PRIMARY KEY AUTOINCREMENT,
     id TEXT NOT NULL UNIQUE,
     kind TEXT NOT NULL,
     at_ms INTEGER NOT NULL,
     camera TEXT,
     frame_id TEXT,
     frame_at_ms REAL,
     frame_width INTEGER,
     frame_height INTEGER,
     body TEXT NOT NULL
   );
   CREATE INDEX event_by_time ON event (at_ms);
   CREATE INDEX event_by_camera ON event (camera, seq);
   CREATE INDEX event_by_kind ON event (kind, seq);
   CREATE VIRTUAL TABLE event_text USING fts5 (
     text, content = '', contentless_delete = 1, tokenize = 'unicode61 remove_diacritics 2'
   );
   CREATE TABLE frame (
     number INTEGER PRIMARY KEY AUTOINCREMENT,
     run TEXT NOT NULL,
     id TEXT NOT NULL,
     camera TEXT,
     at_ms REAL NOT NULL,
     width INTEGER NOT NULL,
     height INTEGER NOT NULL,
     jpeg BLOB NOT NULL,
     UNIQUE (id, run)
   );
   CREATE INDEX frame_by_time ON frame (at_ms);
   CREATE TABLE cursor (sink TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;`,
  `CREATE TABLE health (
     level INTEGER NOT NULL,
     at_ms INTEGER NOT NULL,
     run TEXT NOT NULL,
     count INTEGER NOT NULL,
     names INTEGER NOT NULL,
     body TEXT NOT NULL,
     PRIMARY KEY (level, at_ms, run)
   ) WITHOUT ROWID;
   CREATE INDEX health_by_time ON health (at_ms);
   CREATE TABLE health_names (number INTEGER PRIMARY KEY, names TEXT NOT NULL UNIQUE);`,
];

/** "SceB": tells our files from other databases (https://www.sqlite.org/pragma.html#pragma_application_id). */
const APPLICATION_ID = 0x53636542;

/**
 * Makes the tables of a new file, and brings an older one to this version.
 * @throws StoreError ERR_CONFIG_INVALID for a file of a newer version or of another program
 */
export function migrate(database: DatabaseSyncInstance, file: string): void {
  const version = numberOf(database, 'user_version');
  const application = numberOf(database, 'application_id');
  const isNew = version === 0 && application === 0 && !hasTables(database);
  if (!isNew && application !== APPLICATION_ID)
    throw new StoreError(
      'ERR_CONFIG_INVALID',
      `Expected ${file} to be a journal of SceneBus, but it is another database.`,
    );
  if (version > STEPS.length)
    throw new StoreError(
      'ERR_CONFIG_INVALID',
      `Expected a journal of version ${STEPS.length} or older, but ${file} has version ${version}: a newer SceneBus wrote it. Update, or name another folder.`,
    );
  for (let step = version; step < STEPS.length; step++) {
    database.exec(
      `BEGIN IMMEDIATE; ${STEPS[step]}; PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${step + 1}; COMMIT;`,
    );
  }
}

function numberOf(database: DatabaseSyncInstance, pragma: string): number {
  return Number(first(database, `PRAGMA ${pragma}`) ?? 0);
}

function hasTables(database: DatabaseSyncInstance): boolean {
  return first(database, 'SELECT 1 FROM sqlite_schema LIMIT 1') !== undefined;
}

/** First value of the first row. */
function first(database: DatabaseSyncInstance, sql: string): unknown {
  return Object.values((database.prepare(sql).get() as object | undefined) ?? {})[0];
}
