import Foundation
import HTTPTypes
import Hummingbird
import NIOCore

/// The dashboard's files, which are part of this program.
struct DashboardRoutes {
    func add(to router: RouterGroup<HubRequestContext>) {
        router.get("/") { _, _ in try page("index.html") }
        router.get("login") { _, _ in try page("login.html") }
        router.get("assets/:file") { _, context in
            try page(try context.parameters.require("file"))
        }
    }

    private func page(_ name: String) throws -> Response {
        guard let bytes = DashboardFiles.all[name], let type = Self.type(of: name) else {
            throw HubError(.notFound, "The dashboard has no file \(name).")
        }
        return Response(
            status: .ok,
            headers: [.contentType: type, .cacheControl: "no-cache"],
            body: ResponseBody(byteBuffer: ByteBuffer(bytes: bytes))
        )
    }

    private static func type(of name: String) -> String? {
        switch name.split(separator: ".").last {
        case "html": "text/html; charset=utf-8"
        case "js": "text/javascript; charset=utf-8"
        case "css": "text/css; charset=utf-8"
        case "svg": "image/svg+xml"
        case "png": "image/png"
        case "json": "application/json"
        default: nil
        }
    }
}
