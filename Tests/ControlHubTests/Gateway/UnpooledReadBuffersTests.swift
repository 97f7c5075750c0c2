import NIOCore
import Testing

@testable import ControlHub

@Suite("Buffers for what a connection receives")
struct UnpooledReadBuffersTests {
    /// Reads until the largest buffers are filled; returns the last of them.
    private func readMuch(into buffers: inout NIOPooledRecvBufferAllocator) -> ByteBuffer {
        var last = ByteBuffer()
        for _ in 0..<20 {
            let (buffer, count) = buffers.buffer(allocator: ByteBufferAllocator()) { buffer in
                buffer.writeRepeatingByte(1, count: buffer.writableBytes)
            }
            buffers.record(actualReadBytes: count)
            last = buffer
        }
        return last
    }

    @Test("large ones are given back")
    func large() {
        var buffers = NIOPooledRecvBufferAllocator(capacity: 1, recvAllocator: UnpooledReadBuffers())
        var last = readMuch(into: &buffers)

        #expect(last.readableBytes == 16 << 10)
        #expect(last.modifyIfUniquelyOwned { _ in true } == true)
        withExtendedLifetime(buffers) {}
    }

    @Test("a read that finds little makes the next buffers small again")
    func small() {
        var buffers = NIOPooledRecvBufferAllocator(capacity: 1, recvAllocator: UnpooledReadBuffers())
        _ = readMuch(into: &buffers)
        var room = Int.max
        for _ in 0..<20 {
            let (buffer, count) = buffers.buffer(allocator: ByteBufferAllocator()) { buffer in
                buffer.writeRepeatingByte(1, count: 100)
            }
            buffers.record(actualReadBytes: count)
            room = buffer.storageCapacity
        }
        #expect(room <= 512)
    }
}
