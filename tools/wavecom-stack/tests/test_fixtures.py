"""What the fixtures promise to every other test."""

import aio_pika
import pytest

pytestmark = pytest.mark.connected


async def test_broker_url_leads_to_an_empty_virtual_host(broker_url: str) -> None:
    async with await aio_pika.connect(broker_url) as connection:
        amqp_channel = await connection.channel()
        with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
            await amqp_channel.get_queue("left-by-the-test-before")


@pytest.mark.parametrize("run", ["first", "second"])
def test_each_test_has_a_database_of_its_own(mongodb_url: str, database_name: str, run: str) -> None:
    from pymongo import MongoClient

    with MongoClient(mongodb_url) as client:
        assert client[database_name].list_collection_names() == []
        client[database_name]["left"].insert_one({"by": run})
