/** A route: one declaration is what is served, checked and documented. */
import type { Readable } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { z } from 'zod';
import type { Principal, RequiredRole } from '../access/roles.js';

export interface RouteCall<Params, Query, Body> {
  readonly params: Params;
  readonly query: Query;
  readonly body: Body;
  /** undefined only where the route is public. */
  readonly principal: Principal | undefined;
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
}

/** What comes back. `json` is checked against its schema in tests and described by it in the OpenAPI document. */
export type RouteResponse =
  | { readonly type: 'json'; readonly schema: z.ZodType }
  | { readonly type: 'empty' }
  /** A media type whose bytes or stream the handler returns. */
  | { readonly type: 'bytes'; readonly mediaType: string };

export interface Route {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** With `:name` for parameters. */
  readonly path: string;
  readonly role: RequiredRole;
  readonly summary: string;
  readonly params?: z.ZodType | undefined;
  readonly query?: z.ZodType | undefined;
  readonly body?: z.ZodType | undefined;
  /** Instead of JSON: pictures as they are. */
  readonly bodyTypes?: readonly string[] | undefined;
  readonly bodyLimitBytes?: number | undefined;
  /** Requests a minute from one address; default: the console's. */
  readonly maxPerMinute?: number | undefined;
  readonly response: RouteResponse;
  readonly handle: (call: RouteCall<never, never, never>) => Promise<object | Uint8Array | Readable | undefined>;
}

/** Gives the handler the types of its schemas. */
export function route<
  Params extends z.ZodType = z.ZodType<Record<never, never>>,
  Query extends z.ZodType = z.ZodType<Record<never, never>>,
  Body extends z.ZodType = z.ZodType<undefined>,
>(
  declaration: Omit<Route, 'params' | 'query' | 'body' | 'handle'> & {
    readonly params?: Params;
    readonly query?: Query;
    readonly body?: Body;
    readonly handle: (
      call: RouteCall<z.output<Params>, z.output<Query>, z.output<Body>>,
    ) => Promise<object | Uint8Array | Readable | undefined>;
  },
): Route {
  return declaration as unknown as Route;
}
