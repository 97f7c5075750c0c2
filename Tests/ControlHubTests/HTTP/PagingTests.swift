import Foundation
import HTTPTypes
import TestSupport
import Testing

@testable import ControlHub

@Suite("Lists in pages")
struct PagingTests {
    /// Everything of a list, page by page, by what names its items.
    private func all(_ path: String, by name: String, _ api: APIClient, token: String) async throws -> [String] {
        var names: [String] = []
        var cursor: String?
        repeat {
            let more = cursor.map { "&cursor=\($0)" } ?? ""
            let page = try await api.send(.get, "\(path)\(path.contains("?") ? "&" : "?")limit=2\(more)", token: token)
            try #require(page.status == 200 && page.items.count <= 2, "\(path): \(page.json)")
            names += page.items.compactMap { ($0[name]?.stringValue ?? $0[name]?.plain) }
            cursor = page["next_cursor"]?.stringValue
            try #require(names.count < 100, "\(path) does not end")
        } while cursor != nil
        return names
    }

    @Test("give each item once and end, whatever is listed and however few fit on a page")
    func once() async throws {
        let hub = try TestHub()
        let admin = try await hub.token(.admin)
        try await hub.api { api in
            var made: [String: [String]] = [:]
            func make(_ path: String, _ body: String, as list: String, by name: String) async throws -> String {
                let answer = try await api.send(.post, path, token: admin, body: body)
                let id = try #require(answer[name]?.stringValue, "\(path): \(answer.json)")
                made[list, default: []].append(id)
                return id
            }
            let node = try await make("/api/nodes", #"{"name":"n0"}"#, as: "/api/nodes", by: "id")
            let body = #"{"name":"talker","node_id":"\#(node)"}"#
            let bot = try await make("/api/bots", body, as: "/api/bots", by: "id")
            let talk = "/api/bots/\(bot)/conversations"
            for number in 1...4 {
                // What is made in the same millisecond has its order all the same.
                if number.isMultiple(of: 2) { hub.clock.advance(by: .milliseconds(3)) }
                _ = try await make("/api/nodes", #"{"name":"n\#(number)"}"#, as: "/api/nodes", by: "id")
                let body = #"{"name":"b\#(number)","node_id":"\#(node)"}"#
                _ = try await make("/api/bots", body, as: "/api/bots", by: "id")
                let someone = #"{"name":"o\#(number)","role":"viewer"}"#
                _ = try await make("/api/operators", someone, as: "/api/operators", by: "id")
                _ = try await make("/api/enrollments", "{}", as: "/api/enrollments", by: "id")
                _ = try await make("/api/tokens", #"{"name":"t\#(number)"}"#, as: "/api/tokens", by: "id")
                let sent = try await api.send(
                    .post,
                    "/api/bots/\(bot)/messages",
                    token: admin,
                    body: #"{"text":"\#(number)","conversation_id":"c\#(number)"}"#
                )
                made["/api/commands", default: []].append(try #require(sent["command_id"]?.stringValue))
                made[talk, default: []].append("c\(number)")
                _ = try await make(
                    "/api/bots/\(bot)/messages",
                    #"{"text":"again","conversation_id":"c"}"#,
                    as: "\(talk)/c",
                    by: "message_id"
                )
            }
            for (path, wanted) in made {
                let name = path.hasPrefix(talk) ? (path == talk ? "conversation_id" : "message_id") : "id"
                let listed = try await all(path, by: name, api, token: admin)
                #expect(Set(listed).count == listed.count, "\(path) gives some twice: \(listed)")
                #expect(Set(listed).isSuperset(of: wanted), "\(path) lacks \(Set(wanted).subtracting(listed))")
            }
            let entries = try await all("/api/audit", by: "id", api, token: admin)
            #expect(entries.count > 20 && Set(entries).count == entries.count)
            let whole = try await api.send(.get, "/api/audit?limit=500", token: admin).items.count
            #expect(entries.count == whole)
        }
    }
}
