import Foundation
import HTTPTypes
import Hummingbird
import NIOCore

/// `/api/openapi.json`.
enum OpenAPIRoute {
    static let path = "/api/openapi.json"

    /// The call that describes the others, and itself. Made once, at the start. Throws where a document's type cannot
    /// be described.
    static func route(describing routes: [APIRoute]) throws -> APIRoute {
        var route = APIRoute(
            .get,
            path,
            .anyone,
            .operations,
            "This document.",
            details: "It names nothing that depends on this hub, so it is open to everybody.",
            answers: [.json([String: JSONValue].self, "OpenAPI 3.1.")]
        ) { _, _ in throw HubError(.internalError, "The document is not made yet.") }
        // Anybody may ask for it; all answers share it.
        let document = ByteBuffer(
            bytes: try JSONCoding.encode(try OpenAPIDocument.make(routes + [route], version: HubVersion.version))
        )
        route.handler = { _, _ in JSONCoding.raw(document, status: .ok) }
        return route
    }
}
