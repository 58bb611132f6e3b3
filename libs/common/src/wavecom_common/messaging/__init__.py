"""The broker: connections, topology, publishing and consuming. The only package that imports aio-pika."""
