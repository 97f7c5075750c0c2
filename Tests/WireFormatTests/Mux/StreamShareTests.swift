import Testing
import WireFormat

@Suite struct StreamShareTests {
    @Test("A use that has taken its share leaves streams to the others, and has one again when one of its own ends")
    func share() throws {
        var machine = MuxMachine(role: .hub)
        let pages = StreamShare("pages", maxStreams: 3)
        let first = try machine.open(header: [1], priority: .bulk, share: pages)
        for _ in 0..<2 { _ = try machine.open(header: [1], priority: .bulk, share: pages) }
        let error = #expect(throws: WireFormatError.self) {
            _ = try machine.open(header: [1], priority: .bulk, share: pages)
        }
        #expect(error?.code == .tooManyStreams && error?.message == "3 pages are open, which is the limit")
        _ = try machine.open(header: [1], priority: .bulk, share: StreamShare("files", maxStreams: 3))
        _ = try machine.open(header: [1], priority: .commands)
        machine.reset(first, code: .cancelled, reason: "")
        machine.release(first)
        _ = try machine.open(header: [1], priority: .bulk, share: pages)
    }
}
