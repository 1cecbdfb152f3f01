/** Who may do what: one rule, asked for every route. */
import { z } from 'zod';

/** `display` sees, `operator` also asks, `admin` also changes who may come in. */
export const ROLES = ['display', 'operator', 'admin'] as const;
export const roleSchema = z.enum(ROLES);
export type Role = (typeof ROLES)[number];

/** What a route demands; `public`: nothing. */
export type RequiredRole = Role | 'public';

/** Whoever sent a request, when it is somebody. */
export interface Principal {
  readonly role: Role;
  /** Of a browser. undefined: a program with a token in its header, which no foreign page can make a browser send. */
  readonly session?: { readonly id: string; readonly csrf: string } | undefined;
}

export function mayUse(required: RequiredRole, principal: Principal | undefined): boolean {
  if (required === 'public') return true;
  return principal !== undefined && ROLES.indexOf(principal.role) >= ROLES.indexOf(required);
}
