/**
 * Addresses that come from a browser. A device that goes wherever a page sends it could be made to call other machines
 * of its network (server-side request forgery), to read its own files, or to hand its passwords to a stranger. So a
 * browser may choose what is plugged in, what has no address, and hosts that the file's owner has named.
 */
import { isSdkError } from 'scenebus';
import { requireCameraAddress } from 'scenebus/service';
import type { DeviceConfig } from '../schema.js';

/** Of this machine, numbered or named by what it is: no other files below /dev. */
const DEVICE = /^(\d{1,3}|(v4l2:)?\/dev\/video\d{1,3}|\/dev\/v4l\/by-(id|path)\/[A-Za-z0-9][A-Za-z0-9:._+-]{0,200})$/;
const SENSOR = /^csi:[0-7]$/;
/** Those that show something; the others are for tests of failures. */
const PATTERN = /^test:(checker|moving)$/;
const NETWORK = /^(rtsps?|https?):\/\//i;

export type AddressDecision =
  | { readonly value: string; readonly refusal?: undefined }
  | { readonly refusal: string; readonly value?: undefined };

export interface AddressRequest {
  /** As the browser sent it. */
  readonly wanted: string;
  /** As it stands in the file; undefined: this is a new one. */
  readonly current: string | undefined;
  readonly networkHosts: DeviceConfig['console']['networkHosts'];
}

/** What is written into the file for a camera's address. */
export function cameraAddress(request: AddressRequest): AddressDecision {
  const { wanted } = request;
  if (DEVICE.test(wanted) || SENSOR.test(wanted) || PATTERN.test(wanted)) return { value: wanted };
  if (!NETWORK.test(wanted))
    return {
      refusal:
        'Expected a camera of this machine (0, /dev/video0, csi:0), test:moving, or a network camera (rtsp://…, http://…). Clips and folders are named in the file only: a page must not read files of the device.',
    };
  return networkAddress(request, (address) => {
    try {
      requireCameraAddress(address);
      return undefined;
    } catch (error) {
      return isSdkError(error) ? error.message : String(error);
    }
  });
}

/** The same for the broker, whose password goes to it. */
export function brokerAddress(request: AddressRequest): AddressDecision {
  return networkAddress(request, () => undefined);
}

function networkAddress(
  { wanted, current, networkHosts }: AddressRequest,
  fault: (address: string) => string | undefined,
): AddressDecision {
  if (/\$\{/.test(wanted))
    return {
      refusal: 'Variables of the environment hold secrets of other things too: they are written in the file only.',
    };
  if (wanted.includes('***')) return { refusal: 'It is shown without its secrets (***): enter it as a whole.' };
  const url = URL.canParse(wanted) ? new URL(wanted) : undefined;
  if (url === undefined || url.hostname === '') return { refusal: fault(wanted) ?? 'Expected an address with a host.' };
  const wrong = fault(wanted);
  if (wrong !== undefined) return { refusal: wrong };
  const isSameOrigin = current !== undefined && originOf(current) === originOf(wanted);
  if (!isSameOrigin && !isListed(url.hostname, networkHosts))
    return {
      refusal: `The device goes only where its owner lets a page send it: write ${url.hostname} into console.networkHosts of the file, or the address itself.`,
    };
  // Credentials stay with the machine that they were given for.
  const hasCredentials = url.username !== '' || url.password !== '';
  const kept = isSameOrigin && !hasCredentials ? userInfoOf(current ?? '') : '';
  return { value: kept === '' ? wanted : wanted.replace(/^([a-z]+:\/\/)/i, (scheme) => scheme + kept) };
}

/** For people: without user name, password and the values of a query. */
export function shownAddress(address: string): string {
  if (!/^[a-z]+:\/\//i.test(address)) return address;
  return address.replace(/^([a-z]+:\/\/).*@/is, '$1').replace(/\?.*$/s, (query) => query.replace(/=[^&]*/g, '=***'));
}

/** Whether it holds a user name or a password. */
export function hasUserInfo(address: string): boolean {
  return userInfoOf(address) !== '';
}

/** Of the authority only: an `@` of a path or a query is none, and what stands before it no host. */
function userInfoOf(address: string): string {
  return /^[a-z]+:\/\/([^/?#\\]*@)/i.exec(address)?.[1] ?? '';
}

/** Scheme, host and port, as whoever connects reads them. */
function originOf(address: string): string | undefined {
  if (!URL.canParse(address)) return undefined;
  const { protocol, host } = new URL(address);
  return `${protocol}//${host}`;
}

function isListed(host: string, hosts: readonly string[]): boolean {
  return hosts.some((known) => known.toLowerCase() === host.toLowerCase().replace(/^\[(.*)\]$/, '$1'));
}
