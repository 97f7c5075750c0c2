import Foundation
import SwiftProtobuf
import Testing
import WireFormat

@testable import ControlHub

@Suite("What is looked at before a deployment")
struct PreflightTests {
    private static func node(_ name: String) -> PreflightFacts.Node {
        PreflightFacts.Node(
            name: name,
            isConnected: true,
            healthReason: "It answers.",
            isRevoked: false,
            isDraining: false,
            profiles: [
                .with { ($0.name, $0.backend, $0.usable) = ("default", "native", true) },
                .with { ($0.name, $0.backend, $0.usable, $0.reason) = ("broken", "native", false, "no such program") },
                .with { ($0.name, $0.backend, $0.usable) = ("box", "docker", true) },
            ],
            canSync: true
        )
    }

    private let good = PreflightFacts(
        source: Placement(node: NodeID(rawValue: "a"), runtimeProfile: "default"),
        target: Placement(node: NodeID(rawValue: "b"), runtimeProfile: "default"),
        isForced: false,
        wasRunning: true,
        sourceNode: node("attic"),
        targetNode: node("barn"),
        copy: PreflightFacts.Copy(totalBytes: 10, changedBytes: 1, availableBytes: 100)
    )

    @Test("nothing to object to")
    func passes() {
        #expect(good.checks.arePassed)
        #expect(good.checks.allSatisfy { $0.outcome == .passed })
    }

    private func failure(_ change: (inout PreflightFacts) -> Void) -> DeploymentFailure? {
        var facts = good
        change(&facts)
        return facts.checks.failure
    }

    @Test("a target that keeps the bot less to itself is a warning that says in what")
    func isolation() {
        func sides(_ files: String, _ signals: String) -> [WireIsolationInForce] {
            [("files", files), ("signals", signals)].map { aspect, mechanism in
                .with { ($0.aspect, $0.mechanism, $0.note) = (aspect, mechanism, "because of \(aspect)") }
            }
        }
        func check(_ before: [WireIsolationInForce], _ after: [WireIsolationInForce]) -> PreflightCheck? {
            var facts = good
            facts.sourceNode?.profiles[0].isolation = before
            facts.targetNode?.profiles[0].isolation = after
            return facts.checks.first { $0.name == "isolation" }
        }
        #expect(check([], []) == nil)
        #expect(check(sides("landlock", "landlock"), sides("landlock", "landlock"))?.outcome == .passed)
        let open = check(sides("none", "none"), sides("none", "none"))
        #expect(open?.outcome == .passed && open?.message.contains("but for: files, signals") == true)
        let worse = check(sides("landlock", "landlock"), sides("landlock", "none"))
        #expect(worse?.outcome == .warning && worse?.message.contains("signals (because of signals)") == true)
        #expect(worse?.message.contains("files") == false)
        // An agent from before there was any.
        #expect(check(sides("landlock", "landlock"), [])?.remedy == "Upgrade it.")
        #expect(check([], sides("landlock", "landlock"))?.outcome == .passed)
    }

    @Test("what is not carried is named: what an old agent would lose stops it, sockets are a warning")
    func completeness() {
        func check(_ skipped: [(String, String)], count: UInt64? = nil) -> PreflightCheck? {
            var facts = good
            facts.copy?.leftOut = skipped.map { path, reason in
                .with { ($0.path, $0.reason) = (Data(path.utf8), reason) }
            }
            facts.copy?.leftOutCount = count ?? UInt64(skipped.count)
            return facts.checks.first { $0.name == "workspace_complete" }
        }
        #expect(check([])?.outcome == .passed)
        let sockets = check([("run/x.sock", WireSyncSkipped.special)], count: 3)
        #expect(sockets?.outcome == .warning && sockets?.message.contains("run/x.sock, and 2 more") == true)
        let link = "a symbolic link out of the workspace, to /usr/bin/python3"
        let lost = check([("run/x.sock", WireSyncSkipped.special), ("venv/bin/python3", link)])
        #expect(lost?.outcome == .failed && lost?.remedy == "Upgrade it.")
        #expect(lost?.message.contains("venv/bin/python3 (\(link))") == true && lost?.message.contains("sock") == false)
    }

    @Test("each thing that is wrong is named, with what to do")
    func names() {
        #expect(failure { $0.targetNode = nil }?.code == "target_known")
        #expect(failure { $0.targetNode?.isConnected = false }?.code == "target_online")
        #expect(failure { $0.targetNode?.isRevoked = true }?.code == "target_online")
        #expect(failure { $0.targetNode?.isDraining = true }?.code == "target_online")
        #expect(failure { $0.target.runtimeProfile = "none" }?.code == "profile_offered")
        #expect(failure { $0.target.runtimeProfile = "broken" }?.reason.hasSuffix(": No such program.") == true)
        #expect(failure { $0.target.image = "x:1" }?.code == "image")
        #expect(failure { $0.sourceNode?.isConnected = false }?.code == "source_reachable")
        #expect(failure { $0.targetNode?.canSync = false }?.remedy == "Upgrade it.")
        #expect(failure { $0.copyFailure = "denied" }?.reason == "denied")
        #expect(failure { $0.copy?.availableBytes = 5 }?.code == "disk_space")
        for change: (inout PreflightFacts) -> Void in [
            { $0.targetNode?.isConnected = false }, { $0.sourceNode = nil }, { $0.copy?.totalBytes = 1000 },
        ] {
            #expect(failure(change)?.remedy.isEmpty == false)
        }
    }

    @Test("a source that is away is no obstacle to a forced move, which says what is lost")
    func force() {
        var facts = good
        facts.isForced = true
        facts.sourceNode?.isConnected = false
        #expect(facts.checks.arePassed)
        let check = facts.checks.first { $0.name == "source_reachable" }
        #expect(check?.outcome == .warning)
        #expect(check?.message.contains("keeps no copy") == true)
    }

    @Test("a node that has a session and does not answer is named, with what to do")
    func silence() {
        #expect(failure { $0.targetNode?.isSilent = true }?.code == "target_online")
        let source = failure { $0.sourceNode?.isSilent = true }
        #expect(source?.code == "source_reachable" && source?.remedy.contains("`force`") == true)
        var facts = good
        facts.isForced = true
        facts.sourceNode?.isSilent = true
        #expect(facts.checks.arePassed)
        #expect(facts.checks.contains { $0.name == "source_reachable" && $0.message.contains("keeps no copy") })
        facts = good
        (facts.copy, facts.isCopyTooSlow) = (nil, true)
        #expect(facts.checks.arePassed)
        #expect(facts.checks.contains { $0.name == "workspace_readable" && $0.message.contains("still comparing") })
    }

    @Test("an image goes with a Docker profile")
    func image() {
        var facts = good
        facts.target.runtimeProfile = "box"
        facts.target.image = "bot:2"
        #expect(facts.checks.failure?.remedy.hasPrefix("Upgrade it") == true)
        facts.targetNode?.canChooseImage = true
        facts.launch = .possible
        #expect(facts.checks.arePassed)
        facts.launch = .impossible("the image bot:2 is refused by this node's policy")
        #expect(facts.checks.failure?.code == "image")
        #expect(facts.checks.failure?.reason == "The image bot:2 is refused by this node's policy.")
        facts.launch = .unknown("The node did not answer within 25 s.")
        #expect(facts.checks.arePassed && facts.checks.contains { $0.name == "image" && $0.outcome == .warning })
    }

    @Test("to deploy a bot where it is starts it anew")
    func again() {
        var facts = good
        facts.target = facts.source
        #expect(facts.checks.arePassed)
        #expect(facts.checks.first?.outcome == .warning)
        #expect(!facts.checks.contains { $0.name == "workspace_readable" })
    }
}
