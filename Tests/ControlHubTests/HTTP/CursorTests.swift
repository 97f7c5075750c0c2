import Foundation
import HTTPTypes
import Testing

@testable import ControlHub

@Suite("The cursor of a list")
struct CursorTests {
    @Test("is refused by every list where no page can have ended with it")
    func refused() async throws {
        let hub = try TestHub()
        let admin = try await hub.token(.admin)
        let (_, bot) = try await hub.botOnNode()
        let lists = HubRouter.routes(hub.services).filter { route in
            route.method == .get && route.parameters.contains { $0.name == "cursor" }
        }
        #expect(lists.count > 10)
        try await hub.api { api in
            for route in lists {
                // A file may have any name, and so a page may end with nearly anything.
                if route.path.contains("/workspace") { continue }
                let path = route.path.replacing("{id}", with: bot.rawValue).replacing("{conversation}", with: "c")
                for cursor in ["%20", "~", "node_1", "-1", "nonsense%00", "a%2Fb", "9999999999999999999"] {
                    let answer = try await api.send(
                        .get,
                        "\(path)?cursor=\(cursor)",
                        token: admin,
                        headers: ["Accept": "application/json"]
                    )
                    let isShape = path == "/api/bots" && ["node_1", "9999999999999999999"].contains(cursor)
                    // One that was adopted may be called anything.
                    #expect(isShape || answer.status == 422, "\(path) takes \(cursor): \(answer.json)")
                    #expect(isShape || answer.code == "invalid_request", "\(path): \(answer.json)")
                    #expect(isShape || answer["detail"]?.stringValue?.contains("`cursor`") == true, "\(answer.json)")
                }
            }
        }
    }
}
