import HTTPTypes
import Hummingbird

/// One call of the API: where it is, who may make it, what it takes and answers, and what does it.
///
/// The router, the authorisation and the OpenAPI document are all made of this, so that a call cannot be in one and not
/// in the others.
struct APIRoute: Sendable {
    typealias Handler = @Sendable (Request, HubRequestContext) async throws -> Response

    /// Who may make the call.
    enum Access: Sendable, Equatable {
        /// Everybody; what is sent may be a credential in itself.
        case anyone
        /// Operators of this role or a higher one.
        case role(Role)

        static let viewer = Access.role(.viewer)
        static let `operator` = Access.role(.operator)
        static let admin = Access.role(.admin)
    }

    /// A heading in the document.
    enum Area: String, Sendable, CaseIterable {
        case pairing, nodes, bots, talk, logs, files, deployments, commands, live, operators, operations
    }

    var method: HTTPRequest.Method
    /// As OpenAPI writes it: `/api/bots/{id}/logs`. A last part `{path*}` takes the rest of the path, slashes included.
    var path: String
    var access: Access
    var area: Area
    /// One line that says what the call does.
    var summary: String
    /// More, where one line is not enough.
    var details: String?
    var parameters: [APIParameter]
    var body: APIBody?
    var answers: [APIAnswer]
    /// What can go wrong besides what can go wrong with every call.
    var errors: [HubError.Code]
    var handler: Handler

    init(
        _ method: HTTPRequest.Method,
        _ path: String,
        _ access: Access,
        _ area: Area,
        _ summary: String,
        details: String? = nil,
        parameters: [APIParameter] = [],
        body: APIBody? = nil,
        answers: [APIAnswer],
        errors: [HubError.Code] = [],
        handler: @escaping Handler
    ) {
        self.method = method
        self.path = path
        self.access = access
        self.area = area
        self.summary = summary
        self.details = details
        self.parameters = parameters
        self.body = body
        self.answers = answers
        self.errors = errors
        self.handler = handler
    }

    /// The names between braces in the path.
    var pathParameters: [String] { segments.compactMap(\.parameter) }

    var segments: [Segment] { path.split(separator: "/").map(Segment.init) }

    /// As Hummingbird's router writes it.
    var routerPath: RouterPath {
        RouterPath(
            "/"
                + segments.map { segment in
                    guard let name = segment.parameter else { return segment.text }
                    return segment.takesRest ? "**" : ":\(name)"
                }.joined(separator: "/")
        )
    }

    /// As OpenAPI writes it; it has no notation for the rest of a path.
    var documentPath: String { path.replacing("*}", with: "}") }

    /// Whether a request's path is one of this call's.
    func matches(_ parts: [Substring]) -> Bool {
        let segments = segments
        if let last = segments.last, last.takesRest {
            guard parts.count >= segments.count else { return false }
        } else {
            guard parts.count == segments.count else { return false }
        }
        return zip(segments, parts).allSatisfy { $0.parameter != nil || $0.text == $1 }
    }

    struct Segment: Sendable {
        let text: String
        let parameter: String?
        let takesRest: Bool

        init(_ part: Substring) {
            text = String(part)
            guard part.hasPrefix("{"), part.hasSuffix("}") else {
                parameter = nil
                takesRest = false
                return
            }
            let name = part.dropFirst().dropLast()
            takesRest = name.hasSuffix("*")
            parameter = String(takesRest ? name.dropLast() : name)
        }
    }
}

/// A query parameter or a header of a call.
struct APIParameter: Sendable {
    enum Place: String, Sendable { case query, header }

    var name: String
    var place: Place
    var schema: Schema
    var description: String
    var isRequired = false

    static func query(_ name: String, _ schema: Schema, _ description: String) -> APIParameter {
        APIParameter(name: name, place: .query, schema: schema, description: description)
    }

    static func header(_ name: String, _ schema: Schema, _ description: String) -> APIParameter {
        APIParameter(name: name, place: .header, schema: schema, description: description)
    }

    static let limit = query("limit", .integer(1...500), "Items on a page; 100 unless given.")
    /// Of a list that goes on after an id.
    static let cursor = query("cursor", .text, "The `next_cursor` of the page before.")
    /// Of a list that goes on at a position.
    static let position = query(
        "cursor",
        .string(lengths: 1...19, pattern: "^[0-9]{1,18}$"),
        "The `next_cursor` of the page before."
    )
}

/// What a call takes.
struct APIBody: Sendable {
    var mediaType: String
    var schema: @Sendable (inout SchemaLibrary) throws -> Schema

    /// A JSON document. `isStrict` is false where members that are not known are ignored.
    static func json<Document: APIDocument>(_ type: Document.Type, isStrict: Bool = true) -> APIBody {
        APIBody(mediaType: "application/json") { library in
            var schema = try library.schema(of: type)
            if isStrict, schema.members["properties"] != nil { schema.members["additionalProperties"] = .bool(false) }
            return schema
        }
    }

    static func bytes(_ mediaType: String = "application/octet-stream") -> APIBody {
        APIBody(mediaType: mediaType) { _ in .bytes }
    }
}

/// What a call may answer when all goes well.
struct APIAnswer: Sendable {
    var status: HTTPResponse.Status
    var description: String
    /// Kinds of body; empty for an answer without one.
    var content: [Content] = []

    struct Content: Sendable {
        let mediaType: String
        let schema: @Sendable (inout SchemaLibrary) throws -> Schema
    }

    static func json<Document: Decodable & Sendable>(
        _ type: Document.Type,
        _ description: String = "As asked.",
        status: HTTPResponse.Status = .ok
    ) -> APIAnswer {
        APIAnswer(
            status: status,
            description: description,
            content: [Content(mediaType: "application/json") { try $0.schema(of: type) }]
        )
    }

    static func created<Document: Decodable & Sendable>(_ type: Document.Type) -> APIAnswer {
        json(type, "Made.", status: .created)
    }

    static func accepted<Document: Decodable & Sendable>(_ type: Document.Type) -> APIAnswer {
        json(type, "Accepted: a command will do it, see `GET /api/commands/{id}`.", status: .accepted)
    }

    static let noContent = APIAnswer(status: .noContent, description: "Done.")

    static func content(_ mediaType: String, _ description: String, _ schema: Schema = .string()) -> APIAnswer {
        APIAnswer(
            status: .ok,
            description: description,
            content: [Content(mediaType: mediaType) { _ in schema }]
        )
    }

    /// This answer, or the same as another kind of text.
    func or(_ mediaType: String, _ schema: Schema = .string()) -> APIAnswer {
        var answer = self
        answer.content.append(Content(mediaType: mediaType) { _ in schema })
        return answer
    }
}
