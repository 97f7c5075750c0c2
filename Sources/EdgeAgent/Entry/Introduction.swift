import FoundationEssentials
import SwiftProtobuf
import WebSocketKitLite
import WireFormat

/// What the agent says of itself at the beginning of each session.
struct Introduction: Sendable {
    /// Makes the fingerprint useless to anybody who has the machine id for another purpose (machine-id(5)).
    private static let fingerprintKey = Array("edge-agent machine fingerprint 1".utf8)

    private let journal: Journal
    private let nodeID: @Sendable () -> String
    private let bots: BotFleet
    private let rules: PolicyRegistry
    private let instanceID = RandomText.hex(bytes: 16)
    private let facts: NodeFacts

    init(
        journal: Journal,
        nodeID: @escaping @Sendable () -> String,
        bots: BotFleet,
        policy: PolicyRegistry
    ) {
        self.journal = journal
        self.nodeID = nodeID
        self.bots = bots
        rules = policy
        facts = NodeFacts.read { id in
            let digest = MessageAuthentication.hmacSHA256(Array(id), key: Self.fingerprintKey) ?? []
            return digest.prefix(16).map { byte in
                let text = String(byte, radix: 16)
                return text.count == 1 ? "0" + text : text
            }.joined()
        }
    }

    func hello() async -> WireHello {
        var hello = WireHello()
        facts.fill(&hello)
        hello.nodeID = nodeID()
        hello.instanceID = instanceID
        hello.agentVersion = AgentVersion.current
        hello.journalID = journal.journalID
        // `try?`: a journal that cannot be read now has said nothing; the node is then taken for the one it was.
        hello.journalNodeID = (try? await journal.owner()) ?? ""
        await bots.waitUntilRecovered()
        hello.runtimeProfiles = await bots.runtimeProfiles()
        hello.bots = await bots.statuses()
        hello.keptWorkspaces = await bots.keptWorkspaces()
        hello.policy = policy
        hello.capabilities = capabilities(hello.runtimeProfiles)
        return hello
    }

    /// The node's own rules; what the hub has narrowed it knows.
    var policy: WireNodePolicy {
        let policy = rules.current
        return .with {
            $0.file = policy.file ?? ""
            $0.rulesJson = Data(policy.local.json)
        }
    }

    func runtimeProfiles() async -> [WireRuntimeProfile] { await bots.runtimeProfiles() }

    func capabilities(_ profiles: [WireRuntimeProfile]) -> [String: String] {
        func isUsable(_ backend: BackendKind) -> String {
            profiles.contains { $0.backend == backend.rawValue && $0.usable } ? "true" : "false"
        }
        let features = IsolationFeatures.current()
        return [
            "isolation.landlock": String(features.landlock),
            "isolation.seccomp": features.filtersCalls ? "true" : "false",
            "isolation.users": features.switchesUsers ? "true" : "false",
            "runtime.native": isUsable(.native), "runtime.docker": isUsable(.docker), "logs.follow": "true",
            "workspace.files": "true", "workspace.sync": "true", "workspace.links": "true", "bots.image": "true",
            "bots.describe": "true", "workspace.kept": "true",
        ]
    }
}
