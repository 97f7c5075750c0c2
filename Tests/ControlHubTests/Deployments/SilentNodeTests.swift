import Foundation
import SwiftProtobuf
import Synchronization
import Testing
import WebSocketKitLite
import WireFormat

@testable import ControlHub

/// Nodes whose session is open, and that say nothing more: a link that broke without a word, a machine that hangs.
@Suite("A deployment away from a node that has fallen silent", .timeLimit(.minutes(1)))
struct SilentNodeTests {
    private static var hello: WireHello {
        var hello = WireHello()
        hello.capabilities = ["workspace.sync": "true", "workspace.links": "true"]
        hello.runtimeProfiles = [.with { ($0.name, $0.backend, $0.usable) = ("default", "native", true) }]
        return hello
    }

    /// The agent of the target: it answers, and waits for what the source says.
    private static func serve(_ event: AgentSessionEvent, opened: Signal, released: Signal) {
        switch event {
        case .command(_, let stream):
            // Detached from the session's events, which go on meanwhile, as the streams of an agent are.
            Task {
                try await stream.send(message: WireCommandResult.with { $0.outcome = .done })
                stream.finish()
            }
        case .workspace(_, let stream):
            opened.wake()
            // As above.
            Task {
                // `try?`: reset is what is waited for.
                while let message = try? await stream.receive() { _ = message }
                released.wake()
            }
        default: break
        }
    }

    @Test("is answered in time with what could not be asked, and an abandoned preview is let go at once")
    func preview() async throws {
        try await RunningHub.run { hub in
            let (source, target) = (try await hub.node("attic"), try await hub.node("barn"))
            let bot = try await hub.parts.bots.create(
                name: "echo",
                node: source.id,
                runtimeProfile: "default",
                config: nil,
                by: .hub
            )
            let token = try await hub.parts.operators.add(name: "o", role: .operator, by: .hub).token ?? ""
            let (sourceUp, targetUp) = (Signal(), Signal())
            let (opened, released) = (Signal(), Signal())
            try await withThrowingTaskGroup { group in
                defer { group.cancelAll() }
                let unanswered = Mutex<[SessionStream]>([])
                group.addTask {
                    _ = try await hub.session(source.token, hello: Self.hello) { event, _ in
                        switch event {
                        case .welcomed: sourceUp.wake()
                        // Let go of, they would say that nobody answers.
                        case .command(_, let stream), .workspace(_, let stream):
                            unanswered.withLock { $0.append(stream) }
                        default: break
                        }
                        return true
                    }
                }
                group.addTask {
                    _ = try await hub.session(target.token, hello: Self.hello) { event, _ in
                        if case .welcomed = event { targetUp.wake() }
                        Self.serve(event, opened: opened, released: released)
                        return true
                    }
                }
                try await sourceUp.wait(after: 0)
                try await targetUp.wait(after: 0)
                @Sendable func ask(_ body: String) async throws -> JSONValue {
                    let response = try await HTTPExchange.perform(
                        HTTPExchange.Request(
                            method: "POST",
                            endpoint: try Endpoint("http://\(hub.address)/api/bots/\(bot)/deploy"),
                            headers: ["Authorization": "Bearer \(token)", "Content-Type": "application/json"],
                            body: Array(body.utf8)
                        ),
                        dialer: Dialer(loop: hub.loop)
                    )
                    return try JSONReader.value(response.body, of: .answer)
                }
                let wish = #"{"node_id":"\#(target.id)","dry_run":true}"#
                let abandoned = Task { try await ask(wish) }
                try await opened.wait(after: 0)
                let left = ContinuousClock.now
                abandoned.cancel()
                try await released.wait(after: 0)
                #expect(ContinuousClock.now - left < .seconds(5), "before the hub's own limits")

                let began = ContinuousClock.now
                let preview = try await ask(wish)
                #expect(ContinuousClock.now - began < .seconds(25), "before a client gives up")
                #expect(preview["is_possible"] == .bool(false), "\(preview)")
                let checks = preview["checks"]?.arrayValue ?? []
                let check = checks.first { $0["name"] == .string("source_reachable") }
                #expect(check?["outcome"] == .string("failed"), "\(checks)")
                #expect(check?["message"]?.stringValue?.contains("does not answer") == true, "\(checks)")
                #expect(check?["remedy"]?.stringValue?.contains("`force`") == true, "\(checks)")
                #expect(checks.first { $0["name"] == .string("target_online") }?["outcome"] == .string("passed"))

                let forced = try await ask(#"{"node_id":"\#(target.id)","dry_run":true,"force":true}"#)
                #expect(forced["is_possible"] == .bool(true), "\(forced)")
            }
        }
    }
}
