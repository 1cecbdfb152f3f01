import { version } from 'scenebus';
import { z } from 'zod';
import type { Route } from './route.js';
import { errorSchema } from './schemas.js';

/** The OpenAPI 3.1 document of all routes, made from the schemas that requests are checked with. */
export function openApiDocument(routes: readonly Route[]): object {
  const paths = new Map<string, Map<string, object>>();
  for (const route of routes) {
    const path = route.path.replace(/:([A-Za-z]+)/g, '{$1}');
    const operations = paths.get(path) ?? new Map<string, object>();
    paths.set(path, operations);
    operations.set(route.method.toLowerCase(), operation(route));
  }
  return {
    openapi: '3.1.0',
    info: { title: 'SceneBus console', version, license: { name: 'Apache-2.0', identifier: 'Apache-2.0' } },
    paths: Object.fromEntries([...paths].map(([path, operations]) => [path, Object.fromEntries(operations)])),
    components: {
      securitySchemes: {
        token: { type: 'http', scheme: 'bearer', description: 'A token made on the page Device' },
        session: { type: 'apiKey', in: 'cookie', name: 'scenebus_session' },
      },
    },
  };
}

function operation(route: Route): object {
  const error = { description: 'Refused', content: json(errorSchema, 'output') };
  return {
    summary: route.summary,
    description: route.role === 'public' ? 'For everybody.' : `Needs the role ${route.role} or a higher one.`,
    operationId: operationId(route),
    ...(route.role === 'public' ? {} : { security: [{ token: [] }, { session: [] }] }),
    parameters: [...parameters(route.params, 'path'), ...parameters(route.query, 'query')],
    ...requestBody(route),
    responses: { ...success(route), '4XX': error, '5XX': error },
  };
}

function operationId({ method, path }: Route): string {
  const words = path.split(/[/:]+/).filter((word) => word !== '' && word !== 'api');
  return method.toLowerCase() + words.map((word) => word[0]?.toUpperCase() + word.slice(1)).join('');
}

function parameters(schema: z.ZodType | undefined, where: 'path' | 'query'): object[] {
  if (schema === undefined) return [];
  const { properties = {}, required = [] } = jsonSchema(schema, 'input') as {
    readonly properties?: Readonly<Record<string, object>>;
    readonly required?: readonly string[];
  };
  return Object.entries(properties).map(([name, property]) => ({
    name,
    in: where,
    required: where === 'path' || required.includes(name),
    schema: property,
  }));
}

function requestBody({ body, bodyTypes }: Route): object {
  if (bodyTypes !== undefined) {
    const binary = { schema: { type: 'string', contentEncoding: 'binary' } };
    return { requestBody: { required: true, content: Object.fromEntries(bodyTypes.map((type) => [type, binary])) } };
  }
  return body === undefined ? {} : { requestBody: { required: true, content: json(body, 'input') } };
}

function success({ response }: Route): object {
  if (response.type === 'empty') return { '204': { description: 'Done' } };
  if (response.type === 'json') return { '200': { description: 'Done', content: json(response.schema, 'output') } };
  return { '200': { description: 'Done', content: { [response.mediaType]: {} } } };
}

function json(schema: z.ZodType, io: 'input' | 'output'): object {
  return { 'application/json': { schema: jsonSchema(schema, io) } };
}

function jsonSchema(schema: z.ZodType, io: 'input' | 'output'): object {
  const { $schema: _dialect, ...rest } = z.toJSONSchema(schema, { io, unrepresentable: 'any' });
  return rest;
}
