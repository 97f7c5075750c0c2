import HTTPTypes

/// The OpenAPI 3.1 document of a set of calls.
enum OpenAPIDocument {
    static func make(_ routes: [APIRoute], version: String) throws -> JSONValue {
        var library = SchemaLibrary()
        let problem = try library.schema(of: ProblemDocument.self)
        var paths: [String: [String: JSONValue]] = [:]
        for route in routes {
            paths[route.documentPath, default: [:]][route.method.rawValue.lowercased()] = try operation(
                route,
                problem: problem,
                library: &library
            )
        }
        return .object([
            "openapi": .string("3.1.0"),
            "info": .object([
                "title": .string("ControlHub"), "version": .string(version),
                "description": .string(introduction),
                "license": .object(["name": .string("MIT"), "identifier": .string("MIT")]),
            ]),
            "servers": .array([.object(["url": .string("/")])]),
            "tags": .array(APIRoute.Area.allCases.map { .object(["name": .string($0.rawValue)]) }),
            "security": .array(credentials),
            "paths": .object(paths.mapValues(JSONValue.object)),
            "components": .object([
                "schemas": .object(library.named.mapValues(\.json)), "securitySchemes": .object(securitySchemes),
            ]),
        ])
    }

    private static let introduction = """
        Errors are `application/problem+json` (RFC 9457) with a stable `code`. Lists are pages: `next_cursor` leads to the \
        next one and is null on the last. A POST with an `Idempotency-Key` can be repeated: the second time gets the \
        first one's answer. Times are RFC 3339 in UTC.
        """

    private static let credentials: [JSONValue] = [
        .object(["token": .array([])]), .object(["session": .array([]), "csrf": .array([])]),
    ]

    private static let securitySchemes: [String: JSONValue] = [
        "token": .object([
            "type": .string("http"), "scheme": .string("bearer"), "description": .string("An operator's token."),
        ]),
        "session": .object([
            "type": .string("apiKey"), "in": .string("cookie"), "name": .string(AuthenticationMiddleware.cookieName),
            "description": .string("Made by `POST /api/session`."),
        ]),
        "csrf": .object([
            "type": .string("apiKey"), "in": .string("header"), "name": .string("X-CSRF-Token"),
            "description": .string("The session's `csrf_token`; needed beside the cookie for everything but GET."),
        ]),
    ]

    private static func operation(
        _ route: APIRoute,
        problem: Schema,
        library: inout SchemaLibrary
    ) throws -> JSONValue {
        var members: [String: JSONValue] = [
            "operationId": .string(operationID(route)), "summary": .string(route.summary),
            "tags": .array([.string(route.area.rawValue)]),
            "responses": .object(try responses(route, problem: problem, library: &library)),
        ]
        var description = route.details ?? ""
        switch route.access {
        case .anyone: members["security"] = .array([])
        case .role(let role):
            if !description.isEmpty { description += " " }
            description += "Needs the role `\(role.rawValue)`."
            members["x-role"] = .string(role.rawValue)
        }
        if !description.isEmpty { members["description"] = .string(description) }
        let parameters =
            route.pathParameters.map { pathParameter($0) } + route.allParameters.map(parameter)
        if !parameters.isEmpty { members["parameters"] = .array(parameters) }
        if let body = route.body {
            let schema = try body.schema(&library)
            members["requestBody"] = .object([
                // Nothing at all is as good as `{}`.
                "required": .bool(schema.members["required"] != nil || schema == .bytes),
                "content": .object([body.mediaType: .object(["schema": schema.json])]),
            ])
        }
        return .object(members)
    }

    /// `GET /api/nodes/{id}` is `get_nodes_id`.
    private static func operationID(_ route: APIRoute) -> String {
        let parts = route.segments.map { $0.parameter ?? $0.text }.filter { $0 != "api" }
        return ([route.method.rawValue.lowercased()] + parts).joined(separator: "_")
            .replacing(".", with: "_").replacing("-", with: "_")
    }

    private static func pathParameter(_ name: String) -> JSONValue {
        .object([
            "name": .string(name), "in": .string("path"), "required": .bool(true),
            "schema": Schema.string(lengths: 1...400).json,
        ])
    }

    private static func parameter(_ parameter: APIParameter) -> JSONValue {
        .object([
            "name": .string(parameter.name), "in": .string(parameter.place.rawValue),
            "required": .bool(parameter.isRequired), "description": .string(parameter.description),
            "schema": parameter.schema.json,
        ])
    }

    private static func responses(
        _ route: APIRoute,
        problem: Schema,
        library: inout SchemaLibrary
    ) throws -> [String: JSONValue] {
        var responses: [String: JSONValue] = [:]
        for answer in route.answers {
            var members: [String: JSONValue] = ["description": .string(answer.description)]
            var content: [String: JSONValue] = [:]
            for each in answer.content {
                content[each.mediaType] = .object(["schema": try each.schema(&library).json])
            }
            if !content.isEmpty { members["content"] = .object(content) }
            responses[String(answer.status.code)] = .object(members)
        }
        var codes: [Int: [HubError.Code]] = [:]
        for code in route.allErrors {
            let status = ErrorRendering.status(of: code).0.code
            if codes[status]?.contains(code) != true { codes[status, default: []].append(code) }
        }
        for (status, codes) in codes {
            responses[String(status)] = problemResponse(
                codes.map { "`\($0.rawValue)`: \(ErrorRendering.status(of: $0).1)." }.joined(separator: " "),
                problem
            )
        }
        responses["5XX"] = problemResponse("The hub, its database or the node cannot do it now.", problem)
        return responses
    }

    private static func problemResponse(_ description: String, _ problem: Schema) -> JSONValue {
        .object([
            "description": .string(description),
            "content": .object(["application/problem+json": .object(["schema": problem.json])]),
        ])
    }
}

extension APIRoute {
    /// What the call takes besides its path and body.
    var allParameters: [APIParameter] {
        guard method == .post, access != .anyone else { return parameters }
        return parameters + [
            .header(
                "Idempotency-Key",
                .string(lengths: 1...255, pattern: "^[!-~]+$"),
                "Makes the call safe to repeat for a day: the same key gets the same answer."
            )
        ]
    }

    /// Everything that can go wrong and is no fault of the hub.
    var allErrors: [HubError.Code] {
        var codes = errors + [.malformedRequest, .rateLimited, .headersTooLarge]
        if case .role = access {
            codes += [.unauthenticated, .forbidden]
            if ![.get, .head].contains(method) { codes += [.csrfTokenMissing] }
        }
        if !pathParameters.isEmpty { codes.append(.notFound) }
        if !pathParameters.isEmpty || !parameters.isEmpty || body != nil { codes.append(.invalidRequest) }
        if body != nil { codes += [.payloadTooLarge, .requestTimeout] }
        if method == .post, access != .anyone {
            codes += [.idempotencyKeyReused, .requestInProgress, .invalidRequest, .payloadTooLarge, .requestTimeout]
        }
        return codes
    }
}
