import Glibc
import Testing

@testable import EdgeAgent

/// What the start log and `edge-agent status` say about limits.
@Suite("What control groups keep is what they can")
struct BotPlacementTests {
    private let memory = "/sys/fs/cgroup/memory/place"
    private let unified = "/sys/fs/cgroup/unified/place"

    private func text(_ placement: BotPlacement) -> [String] {
        [placement.directory ?? "none", placement.limits.joined(separator: ", "), placement.shortfall]
    }

    @Test("A hierarchy that is there and cannot be written to keeps nothing, and that is said")
    func closed() throws {
        let layout = ControlGroupLayout(
            bases: ["memory": memory, "cpu": "/c", "pids": "/p", "unified": unified],
            shortfall: ""
        )
        #expect(text(BotPlacement(layout, holderPID: nil) { _ in true }) == [memory, "memory, cpu, pids", ""])
        let closed = BotPlacement(layout, holderPID: nil) { _ in false }
        #expect(closed.limits.isEmpty && closed.directory == nil)
        #expect(closed.shortfall.hasPrefix("user \(geteuid()) may make no groups below \(memory)"))
        let half = BotPlacement(layout, holderPID: nil) { $0 != "/c" }
        #expect(half.limits == ["memory", "pids"] && half.directory == memory)
        #expect(half.shortfall.contains("/c"))
    }

    @Test("What the kernel says of a real directory is what counts")
    func real() throws {
        let folder = try FixtureFolder()
        try folder.write("open/cgroup.procs", "")
        let layout = ControlGroupLayout(
            bases: ["memory": "\(folder.path)/open", "cpu": "\(folder.path)/gone", "pids": "\(folder.path)/open"],
            shortfall: ""
        )
        let placement = BotPlacement(layout, holderPID: nil)
        #expect(placement.limits == ["memory", "pids"])
        #expect(placement.shortfall.contains("\(folder.path)/gone"))
    }

    @Test("Nothing there at all needs no reason, and a reason that is known stays")
    func reasons() {
        #expect(text(BotPlacement(ControlGroupLayout(bases: [:], shortfall: ""), holderPID: nil)) == ["none", "", ""])
        let known = ControlGroupLayout(bases: ["unified": unified], shortfall: "why")
        #expect(BotPlacement(known, holderPID: nil) { _ in false }.shortfall == "why")
    }
}
