import Foundation
import HTTPTypes
import Testing

@testable import ControlHub

@Suite("A preview of a deployment")
struct DeploymentPreviewTests {
    /// A deployment of the bot, made by hand.
    private func add(
        _ hub: TestHub,
        _ bot: BotID,
        from source: NodeID,
        to target: NodeID,
        config: String? = nil,
        _ state: DeploymentState
    ) async throws -> Deployment {
        let now = hub.now
        let deployment = Deployment(
            id: .make(at: now),
            bot: bot,
            actor: "ada",
            createdAt: now,
            source: Placement(node: source, runtimeProfile: "default", config: "{}"),
            target: Placement(node: target, runtimeProfile: "default", config: config),
            isForced: false,
            origin: .source,
            wasRunning: false,
            state: .running,
            step: .preCopy,
            isCancelRequested: false,
            updatedAt: now
        )
        var ended = deployment
        ended.state = state
        let last = ended
        try await hub.parts.database.write { db in
            try DeploymentStore.insert(db, deployment)
            try DeploymentStore.update(db, last)
        }
        return last
    }

    @Test("is refused as a deployment is where one is under way")
    func underWay() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        let other = try await hub.parts.nodes.create(name: "other", by: .hub).id
        let running = try await add(hub, bot, from: node, to: other, .running)
        let token = try await hub.token(.operator)
        try await hub.api { api in
            for (call, body) in [
                ("deploy", #"{"node_id":"\#(other)","dry_run":true}"#), ("deploy", #"{"node_id":"\#(other)"}"#),
                ("rollback", #"{"dry_run":true}"#),
            ] {
                let answer = try await api.send(.post, "/api/bots/\(bot)/\(call)", token: token, body: body)
                #expect(answer.status == 409, "\(body): \(answer.json)")
                // Whether it could work at all is looked at before.
                #expect(["deployment_running", "preflight_failed"].contains(answer.code), "\(body): \(answer.json)")
                if body.contains("dry_run") {
                    #expect(answer.code == "deployment_running", "\(answer.json)")
                    #expect(answer["detail"]?.stringValue?.contains(running.id.rawValue) == true, "\(answer.json)")
                }
            }
        }
    }

    @Test("of a rollback without a snapshot says that the workspace comes along as it is, and so does what came of it")
    func asItIs() async throws {
        let hub = try TestHub()
        let (node, bot) = try await hub.botOnNode()
        let other = try await hub.parts.nodes.create(name: "other", by: .hub).id
        let plain = try await add(hub, bot, from: other, to: node, .succeeded)
        #expect(DeploymentDocument(plain).note == nil)
        let preview = try await hub.services.deployments.previewRollBack(bot, before: plain.id)
        let check = preview.checks.first { $0.name == "workspace_of_then" }
        #expect(check?.outcome == .warning && check?.message.contains("as it is now") == true, "\(preview.checks)")
        let back = try await add(hub, bot, from: node, to: other, config: "{}", .succeeded)
        #expect(DeploymentDocument(back).note?.contains("as it is now") == true)
        let failed = try await add(hub, bot, from: node, to: other, config: "{}", .failed)
        #expect(DeploymentDocument(failed).note == nil)
        let wish = DeploymentOperations.Wish(node: other)
        #expect(
            try await !hub.services.deployments.preview(bot, wish).checks.contains { $0.name == "workspace_of_then" }
        )
    }
}
