import Foundation
import HTTPTypes
import SwiftProtobuf
import Synchronization
import Testing
import WireFormat

@testable import ControlHub

/// A node's side of a workspace: one directory with names that need not be text.
private final class FakeWorkspace: Sendable {
    struct State {
        var names: [[UInt8]] = []
        var tags: [String: String] = [:]
        var writes: [WireWorkspaceRequest] = []
    }

    let state = Mutex(State())

    func stream(_ header: WireStreamHeader) throws -> AgentStream {
        let request = header.workspace
        let answers = Mutex(try answers(to: request))
        return AgentStream(
            send: { _ in },
            receive: { answers.withLock { $0.isEmpty ? nil : $0.removeFirst() } },
            finish: {},
            reset: { _, _ in }
        )
    }

    private func answers(to request: WireWorkspaceRequest) throws -> [[UInt8]] {
        try state.withLock { state in
            var part = WireWorkspacePart()
            let path = String(decoding: request.path, as: UTF8.self)
            switch request.operation {
            case .list(let list):
                let rest = state.names.filter { Array(list.after).lexicographicallyPrecedes($0) }
                let page = rest.prefix(Int(list.limit))
                part.listing.entries = page.map { name in .with { $0.name = Data(name) } }
                part.listing.isLast = page.count == rest.count
            case .stat:
                if let tag = state.tags[path] {
                    part.entry.tag = tag
                } else {
                    part.failure.code = "not_found"
                }
            case .write, .remove:
                state.writes.append(request)
                part.entry.tag = "new"
            default: part.failure.code = "refused"
            }
            return [Array(try part.serializedData() as Data)]
        }
    }
}

@Suite("The files of a bot, over the API")
struct WorkspaceConditionTests {
    private func withWorkspace(
        _ body: @escaping @Sendable (APIClient, _ path: String, _ token: String, FakeWorkspace) async throws -> Void
    ) async throws {
        let hub = try TestHub()
        let (_, bot) = try await hub.botOnNode()
        let token = try await hub.token(.operator)
        let workspace = FakeWorkspace()
        hub.channel.stream.withLock { $0 = { try workspace.stream($0) } }
        try await hub.api { api in
            try await body(api, "/api/bots/\(bot.rawValue)/workspace", token, workspace)
        }
    }

    @Test("are listed to the end by clients that encode parameters and by those that do not", arguments: [true, false])
    func paging(isEncoding: Bool) async throws {
        try await withWorkspace { api, path, token, workspace in
            let texts = ["a b", "a%20b", "a+b", "ä", "z&limit=1", "é?", "%"]
            let names = texts.map { Array($0.utf8) } + [[0xFF, 0x20]]
            workspace.state.withLock { $0.names = names.sorted { $0.lexicographicallyPrecedes($1) } }
            var found: [String] = []
            var cursor: String?
            for _ in 0..<names.count + 2 {
                let sent = cursor.map {
                    "&cursor=" + (isEncoding ? PercentEncoding.encode(Array($0.utf8), keeping: []) : $0)
                }
                let page = try await api.send(.get, "\(path)?limit=1\(sent ?? "")", token: token)
                #expect(page.status == 200, "\(page)")
                found += page.items.compactMap { $0["name"]?.stringValue }
                cursor = page["next_cursor"]?.stringValue
                if cursor == nil { break }
            }
            #expect(cursor == nil && found.count == names.count && Set(found).count == names.count, "\(found)")
        }
    }

    @Test("are not listed from a cursor that nobody gave")
    func strangeCursor() async throws {
        try await withWorkspace { api, path, token, _ in
            for cursor in ["%C3%A9", "a%20b", "!", "%zz"] {
                let page = try await api.send(.get, "\(path)?cursor=\(cursor)", token: token)
                #expect(page.status == 422 && page.code == "invalid_request", "\(cursor): \(page)")
            }
        }
    }

    @Test("are not overwritten where `If-None-Match` names the tag they have, however it is written")
    func noneMatch() async throws {
        try await withWorkspace { api, path, token, workspace in
            workspace.state.withLock { $0.tags["f"] = "t1" }
            func put(_ tags: String, match: String? = nil) async throws -> Int {
                var headers = ["If-None-Match": tags]
                headers["If-Match"] = match
                return try await api.send(.put, "\(path)/f", token: token, body: "x", headers: headers).status
            }
            for same in [#""t1""#, #""t0", "t1""#, #"W/"t1""#, #" "t1" "#] {
                #expect(try await put(same) == 412, "\(same)")
            }
            let deleted = try await api.send(.delete, "\(path)/f", token: token, headers: ["If-None-Match": #""t1""#])
            #expect(deleted.status == 412)
            for broken in ["t1", #""t1"#, #""t2", t1"#] { #expect(try await put(broken) == 422, "\(broken)") }
            #expect(workspace.state.withLock { $0.writes }.isEmpty)
            // It has another tag: it is replaced as long as it has that.
            #expect(try await put(#""t2""#) == 200)
            #expect(workspace.state.withLock { $0.writes.last?.ifMatch } == ["t1"])
            #expect(try await put(#""t2""#, match: #""t9""#) == 200)
            #expect(workspace.state.withLock { $0.writes.last?.ifMatch } == ["t9"], "the node refuses that")
            // It is not there: it is made as long as it is not.
            workspace.state.withLock { $0.tags = [:] }
            #expect(try await put(#""t1""#) == 201)
            #expect(workspace.state.withLock { $0.writes.last?.ifAbsent } == true)
            #expect(try await put("*") == 201)
        }
    }
}
