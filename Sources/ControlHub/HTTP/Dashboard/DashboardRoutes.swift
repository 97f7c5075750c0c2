import Crypto
import Foundation
import HTTPTypes
import Hummingbird
import NIOCore

/// The dashboard's files, which are part of this program.
struct DashboardRoutes {
    /// A file as it is answered.
    private struct Asset {
        let bytes: ByteBuffer
        let type: String
        /// Of the content, so that a browser asks again at each visit and is sent only what has changed.
        let entityTag: String
    }

    private let assets: [String: Asset]

    init() {
        var assets: [String: Asset] = [:]
        for (name, bytes) in DashboardFiles.all {
            guard let type = Self.type(of: name) else { continue }
            let digest = SecretBytes.base64URL(SHA256.hash(data: bytes).prefix(12))
            assets[name] = Asset(bytes: ByteBuffer(bytes: bytes), type: type, entityTag: "\"\(digest)\"")
        }
        self.assets = assets
    }

    func add(to router: RouterGroup<HubRequestContext>) {
        router.get("/") { request, _ in try answer("index.html", to: request) }
        router.get("login") { request, _ in try answer("login.html", to: request) }
        router.get("assets/**") { request, context in
            // Looked up by its whole name, so that no path leads anywhere else.
            try answer(context.parameters.getCatchAll().joined(separator: "/"), to: request)
        }
    }

    private func answer(_ name: String, to request: Request) throws -> Response {
        guard let asset = assets[name] else {
            throw HubError(.notFound, "The dashboard has no file \(name).")
        }
        let headers: HTTPFields = [
            .contentType: asset.type, .cacheControl: "no-cache", .eTag: asset.entityTag,
        ]
        if request.headers[.ifNoneMatch]?.contains(asset.entityTag) == true {
            return Response(status: .notModified, headers: headers)
        }
        return Response(status: .ok, headers: headers, body: ResponseBody(byteBuffer: asset.bytes))
    }

    private static func type(of name: String) -> String? {
        switch name.split(separator: ".").last {
        case "html": "text/html; charset=utf-8"
        case "js": "text/javascript; charset=utf-8"
        case "css": "text/css; charset=utf-8"
        case "svg": "image/svg+xml"
        default: nil
        }
    }
}
