import { engineAddon } from '../native/index.js';

/**
 * Tells systemd how this process is, as sd_notify(3) does: `READY=1`, `STATUS=…`, `WATCHDOG=1`; several joined by line
 * feeds. Never throws: a service works without whoever started it.
 *
 * @param message assignments; a status is one line.
 * @param environment where `NOTIFY_SOCKET` is looked up.
 * @returns false when nobody is to be told (no `NOTIFY_SOCKET`) or it could not be told.
 * @example
 * notifyServiceManager('READY=1\nSTATUS=2 cameras');
 */
export function notifyServiceManager(
  message: string,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): boolean {
  const address = environment.NOTIFY_SOCKET;
  if (!address) return false;
  try {
    engineAddon().sendDatagram(address, message);
    return true;
  } catch {
    return false;
  }
}
