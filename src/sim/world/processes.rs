//! What happens to hosts, and to the processes on them.

use super::{Fault, World};
use crate::sim::host::Order;
use crate::storage::DATA_FILE;

impl World {
    pub(super) fn set_power(&mut self) {
        for index in 0..self.hosts.len() {
            let is_up = !self.faults.iter().any(|fault| fault.takes_power_of(index));
            let host = self.hosts[index].clone();
            if is_up == self.up[index] {
                continue;
            }
            self.up[index] = is_up;
            if is_up {
                self.sim.bounce(host.name.as_str());
            } else {
                // The disk first, so that what closes on drop writes nothing.
                host.disk.power_loss(&self.rng);
                let all_is_lost = self.has(Fault::DiskLoss(index));
                if all_is_lost || self.has(Fault::StoreLoss(index)) {
                    let stores = self.agreed().map(|view| self.stores_of(&view, index));
                    self.destroyed.extend(stores.into_iter().flatten());
                    host.disk.lose(DATA_FILE);
                }
                if all_is_lost {
                    self.lost_disk = true;
                    host.disk.lose_all();
                }
                host.disk.set_host_boot(&format!("{}-{}", host.name, host.life()));
                host.forget();
                self.sim.crash(host.name.as_str());
                self.dying[index] = false;
            }
        }
    }

    pub(super) fn set_processes(&mut self) {
        for (index, host) in self.hosts.iter().enumerate() {
            if self.has(Fault::Killed(index)) {
                host.order(Order::Die);
            } else if !self.dying[index] {
                let leaves = self.has(Fault::Left(index));
                host.order(if leaves { Order::Leave } else { Order::Run });
            }
            host.process.gate.set(self.dying[index] || self.has(Fault::Stopped(index)));
        }
    }

    /// Takes away what is left of the processes that were killed in this step; their hosts go on.
    pub(super) fn bury(&mut self) {
        for index in 0..self.hosts.len() {
            if !std::mem::take(&mut self.dying[index]) {
                continue;
            }
            let host = self.hosts[index].clone();
            // The disk first, so that what closes on drop writes nothing.
            host.disk.kill();
            host.forget();
            self.sim.crash(host.name.as_str());
            self.set_processes();
            self.sim.bounce(host.name.as_str());
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // What holds on to a disk of a world that is over keeps nothing of it in memory.
        for host in &self.hosts {
            host.disk.kill();
            host.disk.lose_all();
        }
    }
}
