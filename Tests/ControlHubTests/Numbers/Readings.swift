import Foundation
import HTTPTypes
import HummingbirdTesting
import NIOCore
import TestSupport
import Testing

@testable import ControlHub

extension APIClient {
    /// Reads whatever can be read, of every id given: no call may fail because of what is stored or known.
    ///
    /// - Parameter ids: by the collection they belong to: `nodes`, `bots`, `conversations`.
    func readEverything(_ hub: TestHub, _ token: String, ids: [String: [String]], after what: String) async throws {
        for route in HubRouter.routes(hub.services) where route.method == .get {
            for path in Self.paths(of: route, ids) {
                // Reads as fast as these are nobody's; the hub would slow them down.
                hub.clock.advance(by: .milliseconds(100))
                let status = try await client.execute(
                    uri: path,
                    method: .get,
                    headers: [.authorization: "Bearer \(token)", .accept: "application/json"],
                    body: nil
                ) { $0.status.code }
                #expect(status < 500 || status == 503, "GET \(path) after \(what)")
            }
        }
    }

    /// The call's addresses with ids in the places of its parameters.
    private static func paths(of route: APIRoute, _ ids: [String: [String]]) -> [String] {
        var paths = [""]
        var collection = ""
        for segment in route.segments {
            let words: [String]
            if segment.parameter == nil {
                collection = segment.text
                words = [segment.text]
            } else {
                words = ids[collection] ?? ["x"]
            }
            paths = paths.flatMap { path in words.map { "\(path)/\($0)" } }
        }
        return paths
    }
}
