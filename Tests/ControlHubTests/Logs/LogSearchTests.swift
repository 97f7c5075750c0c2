import Foundation
import HTTPTypes
import HummingbirdTesting
import NIOCore
import SwiftProtobuf
import Testing
import WireFormat

@testable import ControlHub

@Suite("Searching logs and downloading them")
struct LogSearchTests {
    private static func line(_ offset: UInt64, _ source: WireLogSource, _ text: String) -> WireLogLine {
        .with {
            $0.offset = offset
            $0.source = source
            $0.text = Data(text.utf8)
            $0.atUnixMs = 1_767_225_600_000 + offset
        }
    }

    private static let chunks: [WireLogChunk] = [
        .with {
            $0.lines = [
                line(0, .stdout, "starting"), line(9, .stderr, "Error: no MODEL"),
                line(25, .stdout, "the error is gone"),
            ]
            $0.nextOffset = 43
        },
        .with {
            $0.lines = [line(43, .supervisor, "exited with ERROR 3"), line(63, .stdout, "Ünïcode ERRÖR")]
            $0.nextOffset = 80
        },
    ]

    private func texts(_ answer: APIClient.Answer) -> [String] {
        guard case .array(let lines)? = answer["lines"] else { return [] }
        return lines.compactMap { $0["text"]?.stringValue }
    }

    @Test(
        "finds lines whatever their case, and by who wrote them; what was looked through is told, not what was found",
        arguments: [
            ("search=error", ["Error: no MODEL", "the error is gone", "exited with ERROR 3"]),
            ("search=error&source=stderr", ["Error: no MODEL"]), ("source=supervisor", ["exited with ERROR 3"]),
            ("search=%C3%BCn%C3%AFcode", ["Ünïcode ERRÖR"]), ("search=nothing%20like%20it", []),
        ]
    )
    func search(query: String, expected: [String]) async throws {
        let hub = try TestHub()
        let token = try await hub.token(.viewer)
        let (_, bot) = try await hub.botOnNode()
        hub.channel.chunks = Self.chunks
        try await hub.api { api in
            let found = try await api.send(.get, "/api/bots/\(bot)/logs?\(query)", token: token)
            #expect(found.status == 200)
            #expect(texts(found) == expected)
            #expect(found["next_offset"] == .integer(80))
        }
    }

    @Test("looks from the beginning on unless it is told where; without a search the end is meant")
    func starts() async throws {
        let hub = try TestHub()
        let token = try await hub.token(.viewer)
        let (_, bot) = try await hub.botOnNode()
        hub.channel.chunks = []
        try await hub.api { api in
            for (query, start) in [
                ("search=x", WireLogRequest.OneOf_Start.fromOffset(0)), ("search=x&tail=5", .tailLines(5)),
                ("search=x&offset=7", .fromOffset(7)), ("source=stderr", .tailLines(100)), ("", .tailLines(100)),
            ] {
                _ = try await api.send(.get, "/api/bots/\(bot)/logs?\(query)", token: token)
                #expect(hub.channel.requests.last?.start == start, "\(query)")
            }
            let both = try await api.send(.get, "/api/bots/\(bot)/logs?tail=1&offset=1", token: token)
            #expect(both.status == 422)
            let nobody = try await api.send(.get, "/api/bots/\(bot)/logs?source=nobody", token: token)
            #expect(nobody.status == 422)
        }
    }

    @Test("a search that looked through all it may goes on where it stopped, within a chunk as well")
    func bounded() async throws {
        let hub = try TestHub()
        let (_, bot) = try await hub.botOnNode()
        let big = Data(repeating: UInt8(ascii: "x"), count: LogOperations.maximumSearchBytes / 2)
        let size = UInt64(big.count)
        let lines = [0, size, 2 * size].map { offset in
            WireLogLine.with {
                $0.offset = offset
                $0.text = big
            }
        }
        hub.channel.chunks = [
            WireLogChunk.with {
                $0.lines = lines
                $0.nextOffset = 3 * size
            }
        ]
        let query = LogOperations.Query(start: .offset(0), source: .stderr)
        let page = try await hub.services.logs.page(bot, query)
        #expect(page.lines.isEmpty)
        #expect(page.nextOffset == 2 * size)
    }

    @Test("downloads what is wanted as text, one line each, under a name that is safe in a header")
    func download() async throws {
        let hub = try TestHub()
        let token = try await hub.token(.viewer)
        let node = try await hub.parts.nodes.create(name: "n", by: .hub).id
        let bot = try await hub.parts.bots.create(
            name: "wéird \"name\"",
            node: node,
            runtimeProfile: "default",
            config: nil,
            by: .hub
        )
        hub.channel.chunks = Self.chunks
        try await hub.api { api in
            let path = "/api/bots/\(bot)/logs/download?search=error"
            let text = try await api.client.execute(
                uri: path,
                method: .get,
                headers: [.authorization: "Bearer \(token)"]
            ) { response in
                #expect(response.status == .ok)
                #expect(response.headers[.contentType] == "text/plain; charset=utf-8")
                #expect(response.headers[.contentDisposition] == "attachment; filename=\"w_ird__name_.log\"")
                return String(buffer: response.body)
            }
            #expect(
                text == """
                    2026-01-01T00:00:00.009Z stderr Error: no MODEL
                    2026-01-01T00:00:00.025Z stdout the error is gone
                    2026-01-01T00:00:00.043Z supervisor exited with ERROR 3

                    """
            )
            #expect(hub.channel.requests.last?.start == .fromOffset(0))
            #expect(hub.channel.requests.last?.follow == false)
            hub.channel.chunks = nil
            let offline = try await api.send(.get, path, token: token)
            #expect(offline.status == 409 && offline.code == "node_offline")
        }
        #expect(hub.services.streams.count == 0, "what was open is closed")
    }
}
