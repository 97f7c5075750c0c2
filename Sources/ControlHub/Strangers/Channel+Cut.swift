import Glibc
import NIOCore

extension Channel {
    /// Closes the connection together with what the system still holds for it: a peer that takes nothing would otherwise keep
    /// that for minutes after the hub has let go. From any thread.
    func cut() {
        guard let options = self as? any SocketOptionProvider else {
            close(promise: nil)
            return
        }
        // Where it cannot be set the connection has ended already.
        options.setSoLinger(linger(l_onoff: 1, l_linger: 0)).whenComplete { _ in self.close(promise: nil) }
    }
}
