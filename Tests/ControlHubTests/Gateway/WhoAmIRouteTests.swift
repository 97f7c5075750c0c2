import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Testing

@testable import ControlHub

@Suite("What the hub tells the holder of a token")
struct WhoAmIRouteTests {
    @Test("answers for every token, reveals a node to nobody else, and counts no use")
    func answers() async throws {
        let hub = try TestHub()
        let nodes = hub.parts.nodes
        let node = try await nodes.create(name: "attic", by: .hub)
        let router = try HubRouter.make(hub.services)
        let channel = hub.channel
        try await Application(router: router).test(.router) { client in
            let api = APIClient(client: client)
            let known = try await api.send(.get, WhoAmIRoute.path, token: node.token)
            #expect(known.status == 200 && known["token"]?.stringValue == "accepted")
            #expect(known["node_id"]?.stringValue == node.id.rawValue)
            #expect(known["node_name"]?.stringValue == "attic")
            let hash = SecretBytes.digest(node.token)
            #expect(try await nodes.store.authenticate(tokenHash: hash, at: hub.now).isFirstUse)

            let stranger = try await api.send(.get, WhoAmIRoute.path, token: "edge_wrong")
            #expect(stranger.status == 200 && stranger["token"]?.stringValue == "unknown")
            #expect(stranger["node_id"] == nil)
            #expect(stranger["protocol_max"] != nil && stranger["time_unix_ms"] != nil)

            try await nodes.revoke(node.id, by: .hub, channel: channel)
            let revoked = try await api.send(.get, WhoAmIRoute.path, token: node.token)
            #expect(revoked.status == 200 && revoked["token"]?.stringValue == "revoked")
            let nobody = try await api.send(.get, WhoAmIRoute.path)
            #expect(nobody.status == 401 && nobody.code == "unauthenticated")
        }
    }
}
