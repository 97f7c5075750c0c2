import HTTPTypes
import Testing

@testable import ControlHub

@Suite("An address")
struct PlainAddressTests {
    @Test(
        "with an empty part is refused, whatever it leads to",
        arguments: [
            "//api/nodes", "/api//nodes", "//", "//api/bots/b/workspace/data?recursive=true",
            "/api/bots/b/workspace//data", "/api/bots/b/workspace/data//",
        ]
    )
    func emptyPart(path: String) async throws {
        let hub = try TestHub()
        let token = try await hub.token(.admin)
        try await hub.api { api in
            let answer = try await api.send(.delete, path, token: token)
            #expect(answer.status == 422 && answer.code == "invalid_request", "\(answer)")
        }
    }

    @Test("may end in a slash, and have slashes in its query")
    func allowed() async throws {
        let hub = try TestHub()
        let token = try await hub.token(.admin)
        try await hub.api { api in
            let query = try await api.send(.get, "/api/nodes?name=a//b", token: token)
            #expect(query.status != 422)
            let end = try await api.send(.get, "/api/nodes/", token: token)
            #expect(end.status == 200)
        }
    }
}
