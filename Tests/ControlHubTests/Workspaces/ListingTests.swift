import Foundation
import SwiftProtobuf
import Synchronization
import Testing
import WireFormat

@testable import ControlHub

@Suite("A node's lists of a workspace")
struct ListingTests {
    /// What comes of a list with this name in it.
    private func list(_ name: String) async throws -> [String] {
        let hub = try TestHub()
        let bot = try await hub.botOnNode().bot
        let answer = WireWorkspacePart.with { part in
            part.listing.entries = ["a", name].map { name in .with { ($0.name, $0.type) = (Data(name.utf8), .file) } }
            part.listing.isLast = true
        }
        let bytes: [UInt8] = try answer.serializedBytes()
        hub.channel.stream.withLock { stream in
            stream = { _ in
                AgentStream(send: { _ in }, receive: { bytes }, finish: {}, reset: { _, _ in })
            }
        }
        let listing = try await hub.services.workspaces.list(bot, [], after: [], limit: 100)
        return listing.entries.map { String(decoding: $0.name, as: UTF8.self) }
    }

    @Test(
        "with names that no directory can hold are refused",
        arguments: [
            "", ".", "..", "../../etc/passwd", "a/b", "/", "nul\0", String(repeating: "x", count: 256),
        ]
    )
    func impossible(_ name: String) async {
        await expectHubError(.transferFailed) { _ = try await list(name) }
    }

    @Test(
        "with names that one can are handed on as they are",
        arguments: [
            "...", "line\r\nbreak", "\u{202E}", String(repeating: "x", count: 255),
        ]
    )
    func odd(_ name: String) async throws {
        #expect(try await list(name) == ["a", name])
    }
}
