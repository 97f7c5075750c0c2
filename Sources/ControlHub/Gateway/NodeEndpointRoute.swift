import HTTPTypes
import Hummingbird
import NIOHTTP1
import WebSocketKitLite

/// Says over HTTP why a request to the nodes' endpoint was not upgraded.
///
/// Only requests that are not correct get here, so a person with a browser or `curl` learns what is missing.
enum NodeEndpointRoute {
    static func add(to router: Router<HubRequestContext>) {
        router.get(RouterPath(NodeRequest.path)) { request, context -> Response in
            do {
                let fields = request.headers.map { ($0.name.rawName, $0.value) }
                let head = HTTPRequestHead(
                    version: .http1_1,
                    method: .GET,
                    uri: NodeRequest.path,
                    headers: HTTPHeaders(fields)
                )
                _ = try NodeRequest.accept(head)
                throw HandshakeRefusal(400, "nodes ask for the upgrade in the first request of a connection")
            } catch let refusal as HandshakeRefusal {
                var response = ErrorRendering.response(for: HubError(refusal), logger: context.logger)
                for (name, value) in refusal.headers.fields {
                    guard let name = HTTPField.Name(name) else { continue }
                    response.headers[name] = value
                }
                return response
            }
        }
    }
}

extension HubError {
    fileprivate init(_ refusal: HandshakeRefusal) {
        let code: Code =
            switch refusal.status {
            case 401: .unauthenticated
            case 426: .upgradeRequired
            default: .malformedRequest
            }
        self.init(code, refusal.message)
    }
}
