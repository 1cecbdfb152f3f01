/** What the routes work on. */
import type { Credentials } from '../access/credentials.js';
import type { Sessions } from '../access/sessions.js';
import type { ConsoleDevice } from '../context.js';
import type { DeviceStateFollower } from '../device-state.js';
import type { FrameStore } from '../live/frame-store.js';
import type { LogTail } from '../log-tail.js';
import type { MessageLog } from '../mqtt/message-log.js';
import type { ConfigEditor } from '../settings/config-editor.js';
import type { SetupProgress } from '../setup/setup-progress.js';

export interface ConsoleServices {
  readonly device: ConsoleDevice;
  readonly credentials: Credentials;
  readonly sessions: Sessions;
  readonly state: DeviceStateFollower;
  readonly frames: FrameStore;
  readonly log: LogTail;
  readonly messages: MessageLog;
  /** undefined: there is no configuration that could be changed. */
  readonly settings: ConfigEditor | undefined;
  readonly setup: SetupProgress;
  /** TLS: cookies are sent over it only. */
  readonly isSecure: boolean;
  readonly signal: AbortSignal;
}
