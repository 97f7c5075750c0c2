import Foundation
import HTTPTypes
import TestSupport
import Testing
import WireFormat

@testable import ControlHub

@Suite("Where a bot is made")
struct BotPlacementTests {
    private func hello(profiles: [(name: String, isUsable: Bool)]) -> WireHello {
        var hello = WireHello()
        hello.machineFingerprint = "a"
        hello.runtimeProfiles = profiles.map { profile in
            var offered = WireRuntimeProfile()
            offered.name = profile.name
            offered.usable = profile.isUsable
            return offered
        }
        return hello
    }

    @Test("is a runtime profile that the node offers; one that was never here has not said")
    func profiles() async throws {
        let hub = try TestHub()
        let admin = try await hub.token(.operator)
        let node = try await hub.parts.nodes.create(name: "n", by: .hub).id
        try await hub.api { api in
            func make(_ name: String, on profile: String?) async throws -> APIClient.Answer {
                let wish = profile.map { #","runtime_profile":"\#($0)""# } ?? ""
                let body = #"{"name":"\#(name)","node_id":"\#(node)"\#(wish)}"#
                return try await api.send(.post, "/api/bots", token: admin, body: body)
            }
            #expect(try await make("early", on: "whatever").status == 201)
            _ = try await hub.parts.nodes.openSession(
                node,
                hello: hello(profiles: [("plain", true), ("broken", false)]),
                remoteAddress: "x",
                at: hub.now
            )
            let refused = try await make("one", on: "none")
            #expect(refused.status == 422, "\(refused.json)")
            #expect(refused["detail"]?.stringValue?.hasSuffix("Choose one of these: broken, plain.") == true)
            // What is broken today may be mended before the bot is started.
            #expect(try await make("two", on: "broken").status == 201)
            let three = try await make("three", on: nil)
            #expect(three.status == 201 && three["runtime_profile"] == .string("plain"), "\(three.json)")
        }
    }
}
